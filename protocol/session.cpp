#include "protocol/session.h"

#include <utility>

namespace halcyon {

namespace {

constexpr std::string_view kLineEnd = "\r\n";

Json make_greeting(const SessionConfig& config) {
    Json capabilities = Json::array();
    if (config.oob_allowed) {
        capabilities.push_back("oob");
    }
    return {
        {"QMP",
         {{"version",
           {{"qemu",
             {{"major", config.version.major},
              {"minor", config.version.minor},
              {"micro", config.version.micro}}},
            {"package", config.package}}},
          {"capabilities", std::move(capabilities)}}},
    };
}

Json error_members(const QmpError& error) {
    return {{"class", to_string(error.error_class)}, {"desc", error.description}};
}

/// A reply as one value, so that its envelope can be indented with what it holds.
Json reply_message(const ReplyValue& value, const std::optional<Json>& id) {
    Json message = Json::object();
    if (const auto* error = std::get_if<QmpError>(&value)) {
        message["error"] = error_members(*error);
    } else if (const auto* result = std::get_if<Json>(&value)) {
        message["return"] = *result;
    } else {
        // Valid by its type, so no exception: a constant of ours.
        message["return"] = Json::parse(std::get<WireText>(value).text, nullptr, false);
    }
    if (id) {
        message["id"] = *id;
    }
    return message;
}

}  // namespace

Session::Session(Dispatcher& dispatcher, SessionConfig config, SendFunction send)
    : dispatcher_(dispatcher),
      config_(std::move(config)),
      send_(std::make_shared<const SendFunction>(std::move(send))),
      anchor_(std::make_shared<Anchor>(Anchor{this})) {}

Session::~Session() {
    // Replies that are still to come find nothing, and the functions below us on the stack stop.
    anchor_->session = nullptr;
}

void Session::open() {
    send_message(encode(make_greeting(config_)));
}

void Session::receive(std::string_view bytes) {
    if (closed_) {
        return;
    }
    framer_.feed(bytes);
    process();
}

void Session::emit(const Event& event) {
    if (negotiated_ && !closed_) {
        send_message(event.wire(config_.pretty));
    }
}

void Session::close() {
    closed_ = true;
    queue_.clear();
    framer_.clear();
}

bool Session::wants_input() const {
    if (closed_ || (running_ && !oob_enabled_)) {
        return false;
    }
    return queue_.size() < kQueueLimit;
}

void Session::negotiate(bool enable_oob, Reply<void> reply) {
    if (negotiated_) {
        reply(QmpError{
            .error_class = ErrorClass::kCommandNotFound,
            .description = "Capabilities negotiation is already complete, command ignored"});
        return;
    }
    if (enable_oob && !config_.oob_allowed) {
        reply(Error("Capability oob not available"));
        return;
    }
    negotiated_ = true;
    oob_enabled_ = enable_oob;
    reply();
}

/// Runs what can be run and reads what may be read. Whatever it calls may destroy the session, so
/// after each call the anchor is asked before any member is touched.
void Session::process() {
    if (processing_) {
        return;  // a reply came from inside the loop below, which goes on by itself
    }
    const std::shared_ptr<Anchor> anchor = anchor_;
    processing_ = true;
    while (!closed_) {
        if (!running_ && !queue_.empty()) {
            run_next();
        } else if (wants_input()) {
            std::optional<Frame> frame = framer_.next();
            if (!frame) {
                break;
            }
            accept(*std::move(frame));
        } else {
            break;
        }
        if (anchor->session == nullptr) {
            return;
        }
    }
    processing_ = false;
    const bool was_blocked = std::exchange(input_blocked_, !closed_ && !wants_input());
    if (was_blocked && wants_input() && input_callback_) {
        // A copy, because the callback may destroy the session and itself with it.
        const auto callback = input_callback_;
        callback();
    }
}

void Session::accept(Frame frame) {
    if (frame.is_error()) {
        queue_.emplace_back(BadRequest{
            .error = {.error_class = ErrorClass::kGenericError, .description = frame.error()},
            .id = {}});
        return;
    }
    QueuedRequest queued = Dispatcher::parse(std::move(frame.value()), oob_enabled_);
    const bool out_of_band =
        std::visit([](const auto& request) { return request.out_of_band; }, queued);
    if (out_of_band) {
        run(std::move(queued), true);
    } else {
        queue_.push_back(std::move(queued));
    }
}

void Session::run_next() {
    QueuedRequest queued = std::move(queue_.front());
    queue_.pop_front();
    run(std::move(queued), false);
}

void Session::run(QueuedRequest queued, bool out_of_band) {
    if (dropped_by_quit(queued)) {
        return;
    }
    running_ = running_ || !out_of_band;
    if (auto* bad = std::get_if<BadRequest>(&queued)) {
        make_sink(std::move(bad->id), out_of_band)(std::move(bad->error));
        return;
    }
    auto& request = std::get<Request>(queued);
    dispatcher_.run(*this, request, negotiated_, make_sink(std::move(request.id), out_of_band));
}

ReplySink Session::make_sink(std::optional<Json> id, bool out_of_band) {
    return ReplySink([weak = std::weak_ptr<Anchor>(anchor_), id = std::move(id),
                      out_of_band](const ReplyValue& value) {
        const std::shared_ptr<Anchor> anchor = weak.lock();
        if (anchor && anchor->session != nullptr) {
            anchor->session->answer(value, id, out_of_band);
        }
    });
}

void Session::answer(const ReplyValue& value, const std::optional<Json>& id, bool out_of_band) {
    if (!out_of_band) {
        running_ = false;
    }
    if (closed_) {
        return;
    }
    const std::shared_ptr<Anchor> anchor = anchor_;
    send_message(encode_reply(value, id));
    if (anchor->session != nullptr) {
        process();
    }
}

std::string Session::encode_reply(const ReplyValue& value, const std::optional<Json>& id) const {
    if (config_.pretty) {
        return to_wire_pretty(reply_message(value, id));
    }
    // Written piece by piece, because a result may be text already.
    std::string message = "{";
    if (const auto* error = std::get_if<QmpError>(&value)) {
        message += "\"error\": " + to_wire(error_members(*error));
    } else if (const auto* result = std::get_if<Json>(&value)) {
        message += "\"return\": " + to_wire(*result);
    } else {
        message += "\"return\": ";
        message += std::get<WireText>(value).text;
    }
    if (id) {
        message += ", \"id\": " + to_wire(*id);
    }
    message += "}";
    return message;
}

void Session::send_message(std::string message) {
    if (!closed_) {
        message += kLineEnd;
        const std::shared_ptr<const SendFunction> send = send_;
        (*send)(std::move(message));
    }
}

std::string Session::encode(const Json& value) const {
    return config_.pretty ? to_wire_pretty(value) : to_wire(value);
}

bool Session::dropped_by_quit(const QueuedRequest& queued) const {
    if (!dispatcher_.refuses_new_commands()) {
        return false;
    }
    const auto* request = std::get_if<Request>(&queued);
    const CommandEntry* entry = request == nullptr ? nullptr : dispatcher_.find(request->command);
    return entry == nullptr || !entry->allow_while_quitting;
}

}  // namespace halcyon
