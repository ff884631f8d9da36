/// What tests of the main loop's users share: a loop that is run until something is seen, a front
/// end that records, and client sockets.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <string>

#include <gtest/gtest.h>

#include "base/unique_fd.h"
#include "daemon/event_loop/main_loop.h"
#include "devices/char_backend.h"

namespace halcyon {

/// A loop, and a directory of the test's own.
class LoopTest : public testing::Test {
protected:
    LoopTest() {
        std::string pattern = testing::TempDir() + "halcyon-XXXXXX";
        directory_ = mkdtemp(pattern.data());
    }
    ~LoopTest() override { std::filesystem::remove_all(directory_); }

    [[nodiscard]] std::string path(const std::string& name) const {
        return directory_ + "/" + name;
    }

    /// Runs the loop until `seen` is true; false when that takes too long.
    bool run_until(const std::function<bool()>& seen) {
        const SteadyTime deadline = loop_.now() + std::chrono::seconds(20);
        LoopTimer* again = nullptr;
        const std::unique_ptr<LoopTimer> timer = loop_.make_timer([&] {
            if (seen() || loop_.now() > deadline) {
                loop_.stop();
            } else {
                again->arm(loop_.now() + std::chrono::milliseconds(1));
            }
        });
        again = timer.get();
        timer->arm(loop_.now());
        loop_.run();
        return seen();
    }

    /// Runs the loop for a while, to see that something does not happen.
    void run_for(std::chrono::milliseconds time) {
        const std::unique_ptr<LoopTimer> timer = loop_.make_timer([&] { loop_.stop(); });
        timer->arm(loop_.now() + time);
        loop_.run();
    }

    MainLoop loop_;
    std::string directory_;
};

/// Keeps what a back end tells.
class RecordingFrontend : public CharFrontend {
public:
    size_t can_receive() override { return room; }
    void receive(std::span<const std::byte> data) override {
        EXPECT_LE(data.size(), room);
        input.append(reinterpret_cast<const char*>(data.data()), data.size());
        if (consume_room) {
            room -= data.size();
        }
    }
    void on_writable() override { ++writable; }
    void on_open() override { ++opened; }
    void on_close() override { ++closed; }

    std::string input;
    size_t room = 4096;
    bool consume_room = false;
    int writable = 0;
    int opened = 0;
    int closed = 0;
};

inline std::span<const std::byte> as_bytes(std::string_view text) {
    return std::as_bytes(std::span(text));
}

/// A connected client; blocking, but for `receive_now`.
class TestClient {
public:
    explicit TestClient(const std::string& path) : socket_(::socket(AF_UNIX, SOCK_STREAM, 0)) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        path.copy(address.sun_path, sizeof(address.sun_path) - 1);
        connected_ =
            ::connect(socket_.get(), reinterpret_cast<sockaddr*>(&address),
                      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1)) ==
            0;
    }
    /// A port of the loopback address.
    struct TcpPort {
        uint16_t number;
    };
    explicit TestClient(TcpPort port) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port.number);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        connected_ =
            ::connect(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
    }

    [[nodiscard]] bool connected() const { return connected_; }
    [[nodiscard]] int fd() const { return socket_.get(); }
    void send(std::string_view text) {
        ASSERT_EQ(::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL),
                  static_cast<ssize_t>(text.size()));
    }
    /// Sends what the kernel takes without waiting.
    size_t send_now(std::string_view text) {
        const ssize_t sent =
            ::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        return sent < 0 ? 0 : static_cast<size_t>(sent);
    }
    /// Adds what has arrived to `received`; false at the end of the stream.
    bool receive_now() {
        char buffer[65536];
        ssize_t got = 0;
        while ((got = ::recv(socket_.get(), buffer, sizeof(buffer), MSG_DONTWAIT)) > 0) {
            received.append(buffer, static_cast<size_t>(got));
        }
        return got != 0;
    }
    [[nodiscard]] bool has_received(std::string_view text) {
        receive_now();
        return received.find(text) != std::string::npos;
    }
    void shut_down_sending() { ::shutdown(socket_.get(), SHUT_WR); }
    void close() { socket_.reset(); }

    std::string received;

private:
    UniqueFd socket_;
    bool connected_ = false;
};

}  // namespace halcyon
