#include "bench/qmp_connection.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace halcyon::bench {

namespace {

constexpr size_t kFirstBuffer = 65536;

}  // namespace

Result<QmpConnection> QmpConnection::connect(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof(address.sun_path)) {
        return Error("the socket's path is too long: " + path);
    }
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) !=
        0) {
        return Error::from_errno("cannot connect to " + path);
    }
    return QmpConnection(std::move(socket));
}

Result<void> QmpConnection::send(std::string_view text) {
    while (!text.empty()) {
        const ssize_t sent = ::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL);
        if (sent < 0) {
            return Error::from_errno("cannot send");
        }
        text.remove_prefix(static_cast<size_t>(sent));
    }
    return {};
}

Result<void> QmpConnection::fill() {
    if (begin_ == end_) {
        begin_ = end_ = 0;
    }
    if (end_ == buffer_.size()) {
        buffer_.resize(std::max(kFirstBuffer, 2 * buffer_.size()));
    }
    ssize_t received = 0;
    do {
        received = ::recv(socket_.get(), buffer_.data() + end_, buffer_.size() - end_,
                          polls_ ? MSG_DONTWAIT : 0);
    } while (polls_ && received < 0 && errno == EAGAIN);
    if (received < 0) {
        return Error::from_errno("cannot receive");
    }
    if (received == 0) {
        return Error("the server closed the connection");
    }
    end_ += static_cast<size_t>(received);
    return {};
}

Result<std::string> QmpConnection::receive_line() {
    size_t end = 0;
    while ((end = received().find('\n')) == std::string_view::npos) {
        TRY(fill());
    }
    std::string line(received().substr(0, end + 1));
    begin_ += line.size();
    return line;
}

Result<void> QmpConnection::receive_reply() {
    while (true) {
        const std::string line = TRY(receive_line());
        if (line.find("\"event\"") != std::string::npos) {
            continue;
        }
        if (line.find("\"error\"") != std::string::npos) {
            return Error("the server answered: " + line);
        }
        return {};
    }
}

Result<void> QmpConnection::negotiate() {
    TRY(receive_line());
    TRY(send("{\"execute\":\"qmp_capabilities\"}\n"));
    return receive_reply();
}

Result<void> QmpConnection::skip_replies(size_t replies) {
    while (replies > 0) {
        const size_t end = received().find('\n');
        if (end == std::string_view::npos) {
            TRY(fill());
            continue;
        }
        const std::string_view line = received().substr(0, end);
        if (line.find("\"return\"") == std::string_view::npos) {
            return Error("not the reply that was expected: " + std::string(line));
        }
        begin_ += end + 1;
        --replies;
    }
    return {};
}

}  // namespace halcyon::bench
