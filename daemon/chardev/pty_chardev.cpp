#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "daemon/chardev/kinds.h"

namespace halcyon {
namespace {

/// Raw, so that a guest's bytes pass as they are; the setting outlives this descriptor.
Result<void> make_raw(const std::string& path) {
    const UniqueFd slave(::open(path.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC));
    termios mode{};
    if (!slave || tcgetattr(slave.get(), &mode) != 0) {
        return Error::from_errno("cannot open " + path);
    }
    cfmakeraw(&mode);
    if (tcsetattr(slave.get(), TCSAFLUSH, &mode) != 0) {
        return Error::from_errno("cannot set the mode of " + path);
    }
    return {};
}

}  // namespace

Result<std::unique_ptr<Chardev>> PtyChardev::create(std::string id, MainLoop& loop) {
    auto chardev = std::unique_ptr<PtyChardev>(new PtyChardev(std::move(id), loop));
    chardev->master_.reset(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
    std::array<char, 64> name{};
    if (!chardev->master_ || grantpt(chardev->master_.get()) != 0 ||
        unlockpt(chardev->master_.get()) != 0 ||
        ptsname_r(chardev->master_.get(), name.data(), name.size()) != 0) {
        return Error::from_errno("cannot create a pty");
    }
    chardev->path_ = name.data();
    TRY(make_raw(chardev->path_));

    chardev->inotify_.reset(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    if (!chardev->inotify_ ||
        inotify_add_watch(chardev->inotify_.get(), chardev->path_.c_str(), IN_OPEN) < 0) {
        return Error::from_errno("cannot watch " + chardev->path_);
    }
    PtyChardev* self = chardev.get();
    chardev->inotify_watch_ = TRY(loop.watch(
        self->inotify_.get(), [self] { self->on_opened(); }, [] {}));
    chardev->inotify_watch_->wait_readable();
    chardev->open_if_used();
    // QEMU's words and its stream, which orchestrators read.
    std::printf("char device redirected to %s (label %s)\n", chardev->path_.c_str(),
                chardev->id().c_str());
    std::fflush(stdout);
    return std::unique_ptr<Chardev>(std::move(chardev));
}

void PtyChardev::on_opened() {
    // The events' content says nothing new.
    std::array<char, 4096> events;
    while (::read(inotify_.get(), events.data(), events.size()) > 0) {
    }
    inotify_watch_->wait_readable();
    open_if_used();
}

void PtyChardev::open_if_used() {
    pollfd poll_master{.fd = master_.get(), .events = POLLIN, .revents = 0};
    if (is_open() || ::poll(&poll_master, 1, 0) < 0 || (poll_master.revents & POLLHUP) != 0) {
        return;
    }
    // The stream's descriptor is closed with the peer, the pty lives on.
    UniqueFd stream(fcntl(master_.get(), F_DUPFD_CLOEXEC, 0));
    if (stream) {
        // Without room for another watch the pty stays without peer until it is opened again.
        static_cast<void>(open_stream(std::move(stream), UniqueFd()));
    }
}

}  // namespace halcyon
