#include "bench/qmp_connection.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

namespace halcyon::bench {

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
    if (begin_ == buffer_.size()) {
        buffer_.clear();
        begin_ = 0;
    }
    const size_t old_size = buffer_.size();
    buffer_.resize(old_size + 65536);
    const ssize_t received = ::recv(socket_.get(), buffer_.data() + old_size, 65536, 0);
    buffer_.resize(old_size + static_cast<size_t>(received > 0 ? received : 0));
    if (received < 0) {
        return Error::from_errno("cannot receive");
    }
    if (received == 0) {
        return Error("the server closed the connection");
    }
    return {};
}

Result<std::string> QmpConnection::receive_line() {
    size_t end = 0;
    while ((end = buffer_.find('\n', begin_)) == std::string::npos) {
        TRY(fill());
    }
    std::string line = buffer_.substr(begin_, end + 1 - begin_);
    begin_ = end + 1;
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
        const size_t end = buffer_.find('\n', begin_);
        if (end == std::string::npos) {
            TRY(fill());
            continue;
        }
        const std::string_view line(buffer_.data() + begin_, end - begin_);
        if (line.find("\"return\"") == std::string_view::npos) {
            return Error("not the reply that was expected: " + std::string(line));
        }
        begin_ = end + 1;
        --replies;
    }
    return {};
}

}  // namespace halcyon::bench
