/// The seam between a device that speaks in bytes (a UART, the debug console) and whatever is at
/// the other end of its line: a socket, a terminal, a file, a pty, a ring buffer, or nothing.
///
/// Output goes down from vCPU threads and is bounded by the back end: a guest that floods a slow
/// client is refused, never buffered without end and never made to wait inside a call. Input comes
/// up on the main thread and is bounded by the device: the back end never hands over more than
/// `can_receive` allows.
#pragma once

#include <cstddef>
#include <span>

namespace halcyon {

/// The device's side: what a back end tells the device. The back end calls all of it on the main
/// thread, with none of its own locks held, and never from inside `CharBackend::write` or
/// `CharBackend::input_wanted`. The defaults suit a device without input.
class CharFrontend {
public:
    virtual ~CharFrontend() = default;

    /// How many bytes `receive` takes now; 0 when the device's buffer is full. A guest that
    /// reconfigures the device before `receive` comes may lose bytes, as on a wire.
    [[nodiscard]] virtual size_t can_receive() { return 0; }
    /// Input, at most as many bytes as `can_receive` last said. A device drops what exceeds that.
    virtual void receive(std::span<const std::byte> data) { static_cast<void>(data); }
    /// The line's break condition was seen (a serial terminal's BREAK, a mux's escape).
    virtual void on_break() {}
    /// There is room again after a `write` that took less than all. May come spuriously.
    virtual void on_writable() {}
    /// The peer came: a socket client connected, the pty's slave was opened. A back end that always
    /// has a peer (stdio, file, null, ring buffer) calls it from `connect`.
    virtual void on_open() {}
    /// The peer went. The line stays usable, see `CharBackend::write`.
    virtual void on_close() {}
};

/// The host's side. Created and destroyed on the main thread; outlives the device that uses it.
class CharBackend {
public:
    virtual ~CharBackend() = default;

    /// Takes bytes from the front of `data`, as many as it has room for, and returns how many that
    /// was. From any thread, with a device's lock held; never blocks, never calls the front end.
    /// After taking less than all it calls `CharFrontend::on_writable` once there is room.
    /// Without a peer, or after the host refused the data for good (a full disk, a broken pipe), it
    /// takes and discards everything, so that a guest is never stuck because nobody listens.
    [[nodiscard]] virtual size_t write(std::span<const std::byte> data) = 0;

    /// The device may take input again after `can_receive` said 0. From any thread, with a device's
    /// lock held; returns at once, the input comes later on the main thread.
    virtual void input_wanted() = 0;

    /// Connects the device, or disconnects it with null: when this has returned, the old front end
    /// is not called any more. Calls `on_open` before it returns when there is a peer already. Main
    /// thread.
    virtual void connect(CharFrontend* frontend) = 0;
};

}  // namespace halcyon
