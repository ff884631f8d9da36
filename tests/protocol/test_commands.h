/// The handlers of test_schema.json, and a client for a Session without a transport.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "protocol/dispatcher.h"
#include "protocol/session.h"
#include "qmp_commands.h"
#include "qmp_events.h"

namespace halcyon {

/// What the handlers find, in place of a machine.
class CommandContext {
public:
    /// Replies of test-slow, test-oob-slow and quit, to be given by the test.
    std::deque<Reply<void>> held;
    /// Names of the commands that ran, in order.
    std::vector<std::string> calls;
    /// What test-hook does.
    std::function<void(Session&)> hook;
    /// What quit throws the switch of.
    Dispatcher* dispatcher = nullptr;
};

/// A session and what it sent.
class Client {
public:
    explicit Client(Dispatcher& dispatcher, SessionConfig config = default_config())
        : session(std::make_unique<Session>(
              dispatcher, std::move(config),
              [this](std::string message) { sent.push_back(std::move(message)); })) {
        session->set_input_callback([this] { ++input_callbacks; });
    }

    static SessionConfig default_config() {
        return {.version = {.major = 9, .minor = 2, .micro = 1}, .package = "Test"};
    }

    /// Opens the session, negotiates, and forgets the messages of that.
    Client& negotiate(bool oob = false) {
        session->open();
        session->receive(oob ? R"({"execute":"qmp_capabilities","arguments":{"enable":["oob"]}})"
                             : R"({"execute":"qmp_capabilities"})");
        sent.clear();
        return *this;
    }

    /// The messages sent since the last call, parsed.
    std::vector<Json> take() {
        std::vector<Json> messages;
        for (const std::string& message : std::exchange(sent, {})) {
            messages.push_back(Json::parse(message));
        }
        return messages;
    }

    /// The messages that `bytes` are answered with.
    std::vector<Json> ask(std::string_view bytes) {
        session->receive(bytes);
        return take();
    }

    std::vector<std::string> sent;
    size_t input_callbacks = 0;
    std::unique_ptr<Session> session;
};

/// A dispatcher over the test schema, with its context.
struct Server {
    Server() { context.dispatcher = &dispatcher; }
    CommandContext context;
    Dispatcher dispatcher{qmp::command_table(), context};
};

/// An error reply.
[[nodiscard]] inline Json error_reply(std::string_view error_class, std::string_view description) {
    return {{"error", {{"class", error_class}, {"desc", description}}}};
}
/// An error reply of the usual class.
[[nodiscard]] inline Json generic(std::string_view description) {
    return error_reply("GenericError", description);
}
/// `reply` with an `id`.
[[nodiscard]] inline Json with_id(Json reply, Json id) {
    reply["id"] = std::move(id);
    return reply;
}
/// The reply of a command without a result.
[[nodiscard]] inline Json success() {
    return {{"return", Json::object()}};
}

}  // namespace halcyon
