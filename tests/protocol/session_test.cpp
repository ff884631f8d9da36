// One client in band: greeting, negotiation, order, events, and what happens when it goes.
#include "protocol/session.h"

#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "test_commands.h"

namespace halcyon {
namespace {

using Messages = std::vector<Json>;

class SessionTest : public testing::Test {
protected:
    Server server;
    Client client{server.dispatcher};
    Session& session = *client.session;

    /// Gives the oldest held reply.
    void release() {
        Reply<void> reply = std::move(server.context.held.front());
        server.context.held.pop_front();
        reply();
    }
};

TEST_F(SessionTest, GreetsWhenOpened) {
    EXPECT_TRUE(client.sent.empty());
    session.open();
    const Json greeting = Json::parse(R"({"QMP": {"version": {"qemu":
        {"major": 9, "minor": 2, "micro": 1}, "package": "Test"}, "capabilities": ["oob"]}})");
    EXPECT_EQ(client.take(), Messages{greeting});
}

TEST_F(SessionTest, OffersOobOnlyWhereItIsAllowed) {
    SessionConfig config = Client::default_config();
    config.oob_allowed = false;
    Client plain(server.dispatcher, config);
    plain.session->open();
    EXPECT_EQ(plain.take().at(0)["QMP"]["capabilities"], Json::array());
    EXPECT_EQ(plain.ask(R"({"execute":"qmp_capabilities","arguments":{"enable":["oob"]}})"),
              Messages{generic("Capability oob not available")});
    EXPECT_FALSE(plain.session->negotiated());
    EXPECT_EQ(plain.ask(R"({"execute":"qmp_capabilities"})"), Messages{success()});
}

TEST_F(SessionTest, EndsEachMessageWithCrLf) {
    client.negotiate();
    session.receive(R"({"execute":"query-name"})");
    session.emit(qmp::make_stop_event());
    for (const std::string& message : client.sent) {
        EXPECT_EQ(message.find('\n'), message.size() - 1);
        EXPECT_EQ(message[message.size() - 2], '\r');
    }
}

TEST_F(SessionTest, SpreadsMessagesOverLinesIfPretty) {
    SessionConfig config = Client::default_config();
    config.pretty = true;
    Client pretty(server.dispatcher, config);
    pretty.negotiate();
    pretty.session->receive(R"({"execute":"test-fail-unlisted"})");
    pretty.session->receive(R"({"execute":"query-commands","id":{"a":1}})");
    ASSERT_EQ(pretty.sent.size(), 2U);
    for (const std::string& message : pretty.sent) {
        EXPECT_EQ(message, to_wire_pretty(Json::parse(message)) + "\r\n");
    }
    EXPECT_EQ(Json::parse(pretty.sent[0]), generic("object 'x' not found"));
    EXPECT_EQ(Json::parse(pretty.sent[1])["id"], (Json{{"a", 1}}));
}

TEST_F(SessionTest, ExpectsNegotiationFirst) {
    session.open();
    client.take();
    const Json expecting = error_reply(
        "CommandNotFound", "Expecting capabilities negotiation with 'qmp_capabilities'");
    EXPECT_EQ(client.ask(R"({"execute":"query-name"})"), Messages{expecting});
    EXPECT_EQ(client.ask(R"({"execute":"no-such","id":1})"), Messages{with_id(expecting, 1)});
    EXPECT_EQ(client.ask(R"({"execute":"quit"})"), Messages{expecting});
    EXPECT_TRUE(server.context.calls.empty());
}

TEST_F(SessionTest, AnswersMalformedRequestsBeforeNegotiation) {
    session.open();
    client.take();
    EXPECT_EQ(client.ask("{}"), Messages{generic("QMP input lacks member 'execute'")});
    EXPECT_EQ(client.ask("}"), Messages{generic("JSON parse error, expecting value")});
}

TEST_F(SessionTest, Negotiates) {
    session.open();
    client.take();
    EXPECT_FALSE(session.negotiated());
    EXPECT_EQ(client.ask(R"({"execute":"qmp_capabilities","id":"x"})"),
              Messages{with_id(success(), "x")});
    EXPECT_TRUE(session.negotiated());
    EXPECT_FALSE(session.oob_enabled());
}

TEST_F(SessionTest, TakesACapabilityTwice) {
    session.open();
    client.take();
    EXPECT_EQ(client.ask(R"({"execute":"qmp_capabilities","arguments":{"enable":["oob","oob"]}})"),
              Messages{success()});
    EXPECT_TRUE(session.oob_enabled());
}

TEST_F(SessionTest, StaysUnnegotiatedAfterAFailure) {
    session.open();
    client.take();
    EXPECT_EQ(client.ask(R"({"execute":"qmp_capabilities","arguments":{"enable":["oob","x"]}})"),
              Messages{generic("Parameter 'enable[1]' does not accept value 'x'")});
    EXPECT_EQ(client.ask(R"({"execute":"qmp_capabilities","arguments":{"enable":"oob"}})"),
              Messages{generic("Invalid parameter type for 'enable', expected: array")});
    EXPECT_FALSE(session.negotiated());
    EXPECT_FALSE(session.oob_enabled());
}

TEST_F(SessionTest, NegotiatesOnce) {
    client.negotiate();
    EXPECT_EQ(
        client.ask(R"({"execute":"qmp_capabilities","arguments":{"enable":["oob"]}})"),
        Messages{error_reply("CommandNotFound",
                             "Capabilities negotiation is already complete, command ignored")});
    EXPECT_FALSE(session.oob_enabled());
}

TEST_F(SessionTest, SendsNoEventBeforeNegotiation) {
    session.emit(qmp::make_stop_event());
    session.open();
    session.emit(qmp::make_stop_event());
    EXPECT_EQ(client.take().size(), 1U);  // the greeting
    EXPECT_EQ(client.ask(R"({"execute":"qmp_capabilities"})"), Messages{success()});
}

TEST_F(SessionTest, SendsEvents) {
    client.negotiate();
    Event event = qmp::make_shutdown_event(true, qmp::RunState::kGuestPanicked, std::nullopt);
    event.timestamp =
        std::chrono::system_clock::time_point(std::chrono::microseconds(1234567890123456));
    session.emit(event);
    EXPECT_EQ(client.take(), Messages{Json::parse(R"({"event": "SHUTDOWN",
        "data": {"guest": true, "state": "guest-panicked"},
        "timestamp": {"seconds": 1234567890, "microseconds": 123456}})")});
}

TEST_F(SessionTest, SendsEventsWithoutData) {
    client.negotiate();
    session.emit(qmp::make_stop_event());
    const Json event = client.take().at(0);
    EXPECT_EQ(event["event"], "STOP");
    EXPECT_FALSE(event.contains("data"));
}

TEST_F(SessionTest, AnEventOfACommandPrecedesItsReply) {
    client.negotiate();
    server.context.hook = [](Session& own) { own.emit(qmp::make_stop_event()); };
    const Messages messages = client.ask(R"({"execute":"test-hook"})");
    ASSERT_EQ(messages.size(), 2U);
    EXPECT_EQ(messages[0]["event"], "STOP");
    EXPECT_EQ(messages[1], success());
}

TEST_F(SessionTest, AnswersPipelinedRequestsInOrder) {
    client.negotiate();
    std::string requests;
    for (int i = 0; i < 1000; ++i) {
        requests += R"({"execute":"query-name","id":)" + std::to_string(i) + "}";
    }
    const Messages replies = client.ask(requests);
    ASSERT_EQ(replies.size(), 1000U);
    for (int i = 0; i < 1000; ++i) {
        EXPECT_EQ(replies[static_cast<size_t>(i)]["id"], i);
    }
}

TEST_F(SessionTest, ReadsByteByByte) {
    session.open();
    client.take();
    const std::string requests = R"({"execute":"qmp_capabilities"} {"execute":"query-name","id":1}
        nonsense {"execute":"query-name","id":2})";
    for (const char byte : requests) {
        session.receive({&byte, 1});
    }
    EXPECT_EQ(client.take(), (Messages{success(), with_id(success(), 1),
                                       generic("JSON parse error, invalid keyword 'nonsense'"),
                                       with_id(success(), 2)}));
}

TEST_F(SessionTest, RunsOneCommandAtATime) {
    client.negotiate();
    session.receive(R"({"execute":"test-slow","id":1}{"execute":"query-name","id":2})");
    EXPECT_TRUE(client.take().empty());
    EXPECT_EQ(server.context.calls, std::vector<std::string>{"test-slow 0"});
    release();
    EXPECT_EQ(client.take(), (Messages{with_id(success(), 1), with_id(success(), 2)}));
}

TEST_F(SessionTest, WantsNoInputWhileACommandRuns) {
    client.negotiate();
    EXPECT_TRUE(session.wants_input());
    session.receive(R"({"execute":"test-slow"})");
    EXPECT_FALSE(session.wants_input());
    EXPECT_FALSE(session.idle());
    EXPECT_EQ(client.input_callbacks, 0U);
    release();
    EXPECT_TRUE(session.wants_input());
    EXPECT_TRUE(session.idle());
    EXPECT_EQ(client.input_callbacks, 1U);
}

TEST_F(SessionTest, DoesNotCallBackWhenTheNextCommandRunsAtOnce) {
    client.negotiate();
    session.receive(R"({"execute":"test-slow"}{"execute":"test-slow"})");
    release();
    EXPECT_FALSE(session.wants_input());
    EXPECT_EQ(client.input_callbacks, 0U);
    release();
    EXPECT_EQ(client.input_callbacks, 1U);
}

TEST_F(SessionTest, QueuesParseErrorsLikeRequests) {
    client.negotiate();
    session.receive(R"({"execute":"test-slow","id":1} ] {"x":0,"id":2})");
    EXPECT_TRUE(client.take().empty());
    release();
    EXPECT_EQ(client.take(),
              (Messages{with_id(success(), 1), generic("JSON parse error, expecting value"),
                        with_id(generic("QMP input member 'x' is unexpected"), 2)}));
}

TEST_F(SessionTest, GoesOnAfterGarbage) {
    client.negotiate();
    EXPECT_EQ(client.ask("\x01garbage\xff\xfe\n").back(),
              generic("JSON parse error, stray '\xef\xbf\xbd'"));
    EXPECT_EQ(client.ask(R"({"execute":"query-name"})"), Messages{success()});
}

TEST_F(SessionTest, SendsNothingAfterClose) {
    client.negotiate();
    session.receive(R"({"execute":"test-slow","id":1}{"execute":"query-name","id":2})");
    session.close();
    EXPECT_FALSE(session.wants_input());
    session.emit(qmp::make_stop_event());
    session.receive(R"({"execute":"query-name"})");
    release();
    EXPECT_TRUE(client.sent.empty());
    EXPECT_EQ(server.context.calls, std::vector<std::string>{"test-slow 0"});
}

TEST_F(SessionTest, AReplyAfterDestructionGoesNowhere) {
    client.negotiate();
    session.receive(R"({"execute":"test-slow"})");
    client.session.reset();
    release();
    EXPECT_TRUE(client.sent.empty());
}

TEST_F(SessionTest, ADroppedReplyAfterDestructionGoesNowhere) {
    client.negotiate();
    session.receive(R"({"execute":"test-slow"})");
    client.session.reset();
    server.context.held.clear();
    EXPECT_TRUE(client.sent.empty());
}

TEST_F(SessionTest, ACommandMayCloseItsSession) {
    client.negotiate();
    server.context.hook = [](Session& own) { own.close(); };
    EXPECT_TRUE(client.ask(R"({"execute":"test-hook"}{"execute":"query-name"})").empty());
    EXPECT_TRUE(server.context.calls.empty());
}

TEST_F(SessionTest, ACommandMayDestroyItsSession) {
    client.negotiate();
    server.context.hook = [this](Session&) { client.session.reset(); };
    session.receive(R"({"execute":"test-hook"}{"execute":"query-name"})");
    EXPECT_TRUE(client.sent.empty());
    EXPECT_TRUE(server.context.calls.empty());
}

TEST_F(SessionTest, SendingMayDestroyTheSession) {
    std::unique_ptr<Session> own;
    own = std::make_unique<Session>(server.dispatcher, Client::default_config(),
                                    [&own](const std::string&) { own.reset(); });
    own->receive("nonsense nonsense ");
    EXPECT_EQ(own, nullptr);
}

TEST_F(SessionTest, TheInputCallbackMayDestroyTheSession) {
    client.negotiate();
    session.set_input_callback([this] { client.session.reset(); });
    session.receive(R"({"execute":"test-slow"})");
    release();
    EXPECT_EQ(client.session, nullptr);
    EXPECT_EQ(client.sent.size(), 1U);
}

TEST_F(SessionTest, SessionsAreApart) {
    client.negotiate();
    Client other(server.dispatcher);
    other.session->open();
    other.take();
    EXPECT_EQ(other.ask(R"({"execute":"query-name"})").at(0)["error"]["class"], "CommandNotFound");
    EXPECT_EQ(client.ask(R"({"execute":"query-name"})"), Messages{success()});
}

TEST_F(SessionTest, AnswersALongLine) {
    client.negotiate();
    const std::string text(1 << 20, 'x');
    const Messages replies = client.ask(R"({"execute":"query-name","id":")" + text + "\"}");
    ASSERT_EQ(replies.size(), 1U);
    EXPECT_EQ(replies[0]["id"], text);
}

}  // namespace
}  // namespace halcyon
