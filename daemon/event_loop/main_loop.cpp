#include "daemon/event_loop/main_loop.h"

#include <utility>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

namespace halcyon {

namespace asio = boost::asio;

struct MainLoop::Implementation {
    // One thread runs the loop: Asio then does without some of its locks.
    asio::io_context context{1};
    asio::executor_work_guard<asio::io_context::executor_type> work{context.get_executor()};
};

namespace {

/// A timer's handler that was already queued when the timer was cancelled or destroyed still runs;
/// the generation tells it that it is not meant any more.
class AsioTimer final : public LoopTimer {
public:
    AsioTimer(asio::io_context& context, std::function<void()> callback)
        : state_(std::make_shared<State>(context, std::move(callback))) {}
    ~AsioTimer() override { cancel(); }

    void arm(SteadyTime deadline) override {
        const uint64_t generation = ++state_->generation;
        state_->timer.expires_at(deadline);
        state_->timer.async_wait(
            [state = state_, generation](const boost::system::error_code& error) {
                if (!error && state->generation == generation) {
                    state->callback();
                }
            });
    }

    void cancel() override {
        ++state_->generation;
        state_->timer.cancel();
    }

private:
    struct State {
        State(asio::io_context& context, std::function<void()> function)
            : timer(context), callback(std::move(function)) {}
        asio::steady_timer timer;
        std::function<void()> callback;
        uint64_t generation = 0;
    };
    std::shared_ptr<State> state_;
};

class AsioWatch final : public FdWatch {
public:
    AsioWatch(asio::io_context& context, std::function<void()> on_readable,
              std::function<void()> on_writable)
        : state_(std::make_shared<State>(context, std::move(on_readable), std::move(on_writable))) {
    }
    ~AsioWatch() override {
        state_->alive = false;
        if (state_->descriptor.is_open()) {
            state_->descriptor.release();
        }
    }

    Result<void> assign(int fd) {
        boost::system::error_code error;
        state_->descriptor.assign(fd, error);
        if (error) {
            return Error::from_errno("cannot watch a descriptor", error.value());
        }
        return {};
    }

    void wait_readable() override {
        start(asio::posix::stream_descriptor::wait_read, &State::readable);
    }
    void wait_writable() override {
        start(asio::posix::stream_descriptor::wait_write, &State::writable);
    }

private:
    struct Direction {
        std::function<void()> callback;
        bool waiting = false;
    };
    struct State {
        State(asio::io_context& context, std::function<void()> on_readable,
              std::function<void()> on_writable)
            : descriptor(context),
              readable{std::move(on_readable)},
              writable{std::move(on_writable)} {}
        asio::posix::stream_descriptor descriptor;
        Direction readable;
        Direction writable;
        bool alive = true;
    };

    void start(asio::posix::stream_descriptor::wait_type type, Direction State::*direction) {
        if (std::exchange(((*state_).*direction).waiting, true)) {
            return;
        }
        // An error other than the cancellation says that the descriptor cannot be polled: it is
        // ready then.
        state_->descriptor.async_wait(
            type, [state = state_, direction](const boost::system::error_code& error) {
                if (!state->alive || error == asio::error::operation_aborted) {
                    return;
                }
                Direction& ready = (*state).*direction;
                ready.waiting = false;
                ready.callback();
            });
    }

    std::shared_ptr<State> state_;
};

}  // namespace

MainLoop::MainLoop() : implementation_(std::make_unique<Implementation>()) {}

MainLoop::~MainLoop() = default;

void MainLoop::post(std::function<void()> task) {
    asio::post(implementation_->context, std::move(task));
}

std::unique_ptr<LoopTimer> MainLoop::make_timer(std::function<void()> callback) {
    return std::make_unique<AsioTimer>(implementation_->context, std::move(callback));
}

SteadyTime MainLoop::now() const {
    return std::chrono::steady_clock::now();
}

Result<std::unique_ptr<FdWatch>> MainLoop::watch(int fd, std::function<void()> on_readable,
                                                 std::function<void()> on_writable) {
    auto watch = std::make_unique<AsioWatch>(implementation_->context, std::move(on_readable),
                                             std::move(on_writable));
    TRY(watch->assign(fd));
    return std::unique_ptr<FdWatch>(std::move(watch));
}

asio::io_context& MainLoop::context() {
    return implementation_->context;
}

void MainLoop::run() {
    implementation_->context.restart();
    implementation_->context.run();
}

void MainLoop::stop() {
    implementation_->context.stop();
}

}  // namespace halcyon
