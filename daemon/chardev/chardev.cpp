#include "daemon/chardev/chardev.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

namespace halcyon {

Chardev::Chardev(std::string id, MainLoop& loop)
    : id_(std::move(id)), loop_(loop), anchor_(std::make_shared<Anchor>(Anchor{this})) {}

Chardev::~Chardev() {
    anchor_->chardev = nullptr;
}

void Chardev::post(void (Chardev::*action)()) {
    loop_.post([anchor = anchor_, action] {
        if (anchor->chardev != nullptr) {
            (anchor->chardev->*action)();
        }
    });
}

// -- the peer -------------------------------------------------------------------------------------

Result<void> Chardev::open_stream(UniqueFd input, UniqueFd output) {
    std::unique_ptr<FdWatch> input_watch;
    std::unique_ptr<FdWatch> output_watch;
    if (input) {
        input_watch = TRY(loop_.watch(
            input.get(), [this] { on_readable(); }, [this] { flush(); }));
    }
    if (output) {
        output_watch = TRY(loop_.watch(
            output.get(), [] {}, [this] { flush(); }));
    }
    input_ = std::move(input);
    output_ = std::move(output);
    input_watch_ = std::move(input_watch);
    output_watch_ = std::move(output_watch);
    output_error_ = 0;
    announce_peer();
    return {};
}

void Chardev::open_sink() {
    {
        const std::lock_guard lock(mutex_);
        sink_ = true;
    }
    announce_peer();
}

void Chardev::announce_peer() {
    {
        const std::lock_guard lock(mutex_);
        open_ = true;
    }
    if (frontend_ != nullptr) {
        frontend_->on_open();
        resume_input();
    }
}

void Chardev::close_stream() {
    bool starved = false;
    {
        const std::lock_guard lock(mutex_);
        if (!open_) {
            return;
        }
        open_ = false;
        starved = std::exchange(starved_, false);
        incoming_ = std::vector<std::byte>();  // `= {}` would keep the memory
        outgoing_bytes_ = 0;
    }
    outgoing_ = std::vector<std::byte>();
    outgoing_done_ = 0;
    input_watch_.reset();
    output_watch_.reset();
    input_.reset();
    output_.reset();
    if (frontend_ != nullptr) {
        frontend_->on_close();
    }
    if (starved && frontend_ != nullptr) {
        frontend_->on_writable();
    }
    on_peer_gone();
    if (on_drained_) {
        on_drained_();
    }
}

void Chardev::connect(CharFrontend* frontend) {
    frontend_ = frontend;
    if (frontend_ != nullptr && open_) {
        frontend_->on_open();
        resume_input();
    }
}

// -- input ----------------------------------------------------------------------------------------

void Chardev::on_readable() {
    if (frontend_ == nullptr) {
        return;
    }
    const size_t room = std::min(frontend_->can_receive(), kInputChunk);
    if (room == 0) {
        return;  // until resume_input
    }
    std::array<std::byte, kInputChunk> buffer;
    const ssize_t got = read_some(input_.get(), std::span(buffer).first(room));
    if (got > 0) {
        frontend_->receive(std::span(buffer).first(static_cast<size_t>(got)));
        resume_input();
    } else if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        resume_input();
    } else {
        on_input_end();
    }
}

void Chardev::resume_input() {
    if (frontend_ != nullptr && input_watch_ != nullptr) {
        input_watch_->wait_readable();
    }
}

void Chardev::input_wanted() {
    if (!resume_posted_.exchange(true)) {
        post(&Chardev::on_resume);
    }
}

void Chardev::on_resume() {
    resume_posted_.store(false);
    resume_input();
}

// -- output ---------------------------------------------------------------------------------------

size_t Chardev::write(std::span<const std::byte> data) {
    const std::lock_guard lock(mutex_);
    if (!open_ || sink_) {
        log(data);
        return data.size();
    }
    const size_t used = incoming_.size() + outgoing_bytes_;
    const size_t taken = std::min(data.size(), kOutputLimit - std::min(used, kOutputLimit));
    starved_ = starved_ || taken < data.size();
    log(data.first(taken));
    if (taken != 0) {
        incoming_.insert(incoming_.end(), data.begin(),
                         data.begin() + static_cast<std::ptrdiff_t>(taken));
        if (!std::exchange(flush_posted_, true)) {
            post(&Chardev::flush);
        }
    }
    return taken;
}

size_t Chardev::write_now(std::span<const std::byte> data) {
    if (!open_ || sink_ || !drained()) {
        return write(data);
    }
    size_t written = 0;
    const WriteStatus status = write_out(data, &written);
    log(data.first(written));
    if (status == WriteStatus::kFailed) {
        // The front end must not hear of it from inside this call.
        post(&Chardev::on_output_failed);
        return data.size();
    }
    return written == data.size() ? written : written + write(data.subspan(written));
}

void Chardev::log(std::span<const std::byte> data) const {
    while (log_ && !data.empty()) {
        const ssize_t count = ::write(log_.get(), data.data(), data.size());
        if (count >= 0) {
            data = data.subspan(static_cast<size_t>(count));
        } else if (errno != EINTR) {
            return;
        }
    }
}

Result<void> Chardev::adopt_client(UniqueFd /*socket*/) {
    return Error("chardev '" + id_ + "' is no socket server", ErrorCode::kUnsupported);
}

bool Chardev::drained() const {
    const std::lock_guard lock(mutex_);
    return !open_ || (incoming_.empty() && outgoing_bytes_ == 0);
}

Chardev::WriteStatus Chardev::write_out(std::span<const std::byte> data, size_t* written) {
    *written = 0;
    while (*written < data.size()) {
        const ssize_t count = output_error_ != 0 ? static_cast<ssize_t>(data.size() - *written)
                                                 : write_some(output_fd(), data.subspan(*written));
        if (count >= 0) {
            *written += static_cast<size_t>(count);
        } else if (errno == EAGAIN) {
            return WriteStatus::kBlocked;
        } else if (errno != EINTR) {
            output_error_ = errno;
            return WriteStatus::kFailed;
        }
    }
    return WriteStatus::kAll;
}

/// Makes what has been collected the bytes to write; false when there are none.
bool Chardev::take_incoming() {
    const std::lock_guard lock(mutex_);
    outgoing_.clear();
    outgoing_done_ = 0;
    outgoing_.swap(incoming_);
    if (incoming_.capacity() > kSpareBytes) {
        incoming_ = std::vector<std::byte>();
    }
    outgoing_bytes_ = outgoing_.size();
    return outgoing_bytes_ != 0;
}

void Chardev::flush() {
    {
        const std::lock_guard lock(mutex_);
        flush_posted_ = false;
    }
    while (open_ && (outgoing_done_ < outgoing_.size() || take_incoming())) {
        size_t written = 0;
        const WriteStatus status =
            write_out(std::span(outgoing_).subspan(outgoing_done_), &written);
        outgoing_done_ += written;
        {
            const std::lock_guard lock(mutex_);
            outgoing_bytes_ -= written;
        }
        if (status == WriteStatus::kFailed) {
            // Afterwards the peer has gone, or what is written is discarded.
            on_output_failed();
        } else if (status == WriteStatus::kBlocked) {
            output_watch()->wait_writable();
            break;
        }
    }
    after_flush();
}

void Chardev::after_flush() {
    bool room = false;
    {
        const std::lock_guard lock(mutex_);
        if (starved_ && incoming_.size() + outgoing_bytes_ < kOutputLimit) {
            starved_ = false;
            room = true;
        }
    }
    if (room && frontend_ != nullptr) {
        frontend_->on_writable();
    }
    recheck_drained();
}

void Chardev::recheck_drained() {
    if (!drained()) {
        return;
    }
    recheck_end();
    if (on_drained_) {
        on_drained_();
    }
}

void Chardev::on_output_failed() {
    if (open_ && output_error_ != 0) {
        on_output_error(output_error_);
    }
}

ssize_t Chardev::read_some(int fd, std::span<std::byte> buffer) {
    return ::read(fd, buffer.data(), buffer.size());
}

ssize_t Chardev::write_some(int fd, std::span<const std::byte> data) {
    return ::write(fd, data.data(), data.size());
}

}  // namespace halcyon
