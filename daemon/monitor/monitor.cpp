#include "daemon/monitor/monitor.h"

#include <malloc.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "daemon/trace/trace_events.h"

namespace halcyon {

namespace {

/// Gives back the memory of an emptied buffer, unless it is little.
void release_spare(std::string& empty) {
    if (empty.capacity() > Chardev::kSpareBytes) {
        std::string().swap(empty);  // an assignment would keep it
    }
}

}  // namespace

Monitor::Monitor(Chardev& chardev, Dispatcher& dispatcher, SessionConfig config, MainLoop& loop)
    : chardev_(chardev),
      dispatcher_(dispatcher),
      config_(std::move(config)),
      loop_(loop),
      anchor_(std::make_shared<Anchor>(Anchor{this})) {
    // A person at a terminal sees what is typed.
    chardev_.set_echo(true);
    // A client that has closed only its sending side still gets its replies.
    chardev_.set_hold([this] {
        return session_ != nullptr && (!session_->idle() || !input_.empty() || !drained());
    });
}

Monitor::~Monitor() {
    anchor_->monitor = nullptr;
    chardev_.connect(nullptr);
    chardev_.set_hold(nullptr);
}

void Monitor::on_open() {
    TRACE(trace::monitor_open, "monitor '{}'", chardev_.id());
    session_ = std::make_unique<Session>(dispatcher_, config_,
                                         [this](std::string message) { send(std::move(message)); });
    session_->set_input_callback([this] { process_later(); });
    session_->open();
}

void Monitor::on_close() {
    TRACE(trace::monitor_close, "monitor '{}'", chardev_.id());
    if (session_ != nullptr) {
        session_->close();
        session_.reset();
    }
    std::string().swap(input_);
    std::string().swap(output_);
    output_done_ = 0;
    largest_ = std::max(largest_, std::exchange(input_since_output_, 0));
    trim_memory();
    dropping_ = false;
    if (on_closed_) {
        on_closed_();
    }
}

// -- input ----------------------------------------------------------------------------------------

bool Monitor::may_take_input() const {
    return session_ != nullptr && session_->wants_input() && unsent() <= kInputLimit;
}

size_t Monitor::can_receive() {
    return input_.empty() && may_take_input() ? Chardev::kInputChunk : 0;
}

void Monitor::receive(std::span<const std::byte> data) {
    const std::string_view text(reinterpret_cast<const char*>(data.data()), data.size());
    TRACE(trace::monitor_receive, "monitor '{}' {}", chardev_.id(), trace::quote(text));
    input_ += text;
    input_since_output_ += data.size();
    process_input();
}

/// Gives the session its input in pieces that complete at most one request, so that a client that
/// sends many and reads nothing is stopped in between.
void Monitor::process_input() {
    batching_ = true;
    size_t done = 0;
    while (done < input_.size() && may_take_input()) {
        const std::string_view rest = std::string_view(input_).substr(done);
        // Up to a closing bracket, or, where none is near, a little: that may hold many errors.
        const std::string_view next =
            rest.substr(0, std::min(rest.substr(0, kPiece).find('}'), kPiece - 1) + 1);
        done += next.size();
        session_->receive(next);
        if (unsent() > kInputLimit) {
            flush_output();
        }
    }
    batching_ = false;
    input_.erase(0, done);
    flush_output();
    if (input_.empty()) {
        release_spare(input_);
        chardev_.resume_input();
    }
    chardev_.recheck_end();
}

void Monitor::process_later() {
    loop_.post([anchor = anchor_] {
        if (anchor->monitor != nullptr && anchor->monitor->session_ != nullptr) {
            anchor->monitor->process_input();
        }
    });
}

// -- output ---------------------------------------------------------------------------------------

void Monitor::emit(const Event& event) {
    if (session_ == nullptr || !session_->negotiated()) {
        return;
    }
    if (unsent() > kEventLimit) {
        ++dropped_events_;
        if (!std::exchange(dropping_, true)) {
            spdlog::warn("monitor '{}': the client does not read; its events are dropped",
                         chardev_.id());
        }
        return;
    }
    session_->emit(event);
}

void Monitor::send(std::string message) {
    TRACE(trace::monitor_send, "monitor '{}' {}", chardev_.id(), trace::quote(message));
    largest_ = std::max({largest_, message.size(), std::exchange(input_since_output_, 0)});
    if (output_.empty()) {
        output_ = std::move(message);
    } else {
        output_ += message;
    }
    if (!batching_) {
        flush_output();
        chardev_.recheck_end();
    }
}

void Monitor::flush_output() {
    if (unsent() != 0) {
        const std::string_view rest = std::string_view(output_).substr(output_done_);
        output_done_ += chardev_.write_now(std::as_bytes(std::span(rest)));
    }
    if (unsent() != 0) {
        // on_writable goes on. A client may always have something to read, and so what it has read
        // is dropped here; only when it is at least half, so that every byte moves O(1) times.
        if (output_done_ >= unsent()) {
            output_.erase(0, output_done_);
            output_done_ = 0;
        }
        return;
    }
    output_done_ = 0;
    output_.clear();
    release_spare(output_);
    trim_memory();
    if (std::exchange(dropping_, false)) {
        spdlog::warn("monitor '{}': the client reads again; {} events were dropped so far",
                     chardev_.id(), dropped_events_);
    }
}

void Monitor::trim_memory() {
    if (std::exchange(largest_, 0) >= kTrimBytes) {
        malloc_trim(0);
    }
}

void Monitor::on_writable() {
    const bool was_stopped = unsent() > kInputLimit;
    flush_output();
    if (was_stopped && unsent() <= kInputLimit) {
        process_later();
    }
    chardev_.recheck_end();
}

bool Monitor::drained() const {
    return unsent() == 0 && chardev_.drained();
}

}  // namespace halcyon
