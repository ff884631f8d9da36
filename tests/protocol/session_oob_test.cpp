// Out-of-band execution: what overtakes what, and when reading stops.
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "test_commands.h"

namespace halcyon {
namespace {

using Messages = std::vector<Json>;

class OobTest : public testing::Test {
protected:
    OobTest() { client.negotiate(true); }

    Server server;
    Client client{server.dispatcher};
    Session& session = *client.session;

    void release() {
        Reply<void> reply = std::move(server.context.held.front());
        server.context.held.pop_front();
        reply();
    }
    /// A test-slow with its number as tag and id.
    static std::string slow(int number) {
        const std::string text = std::to_string(number);
        return R"({"execute":"test-slow","arguments":{"tag":)" + text + R"(},"id":)" + text + "}";
    }
};

TEST_F(OobTest, OvertakesWhatRunsAndWhatWaits) {
    session.receive(slow(1) + R"({"execute":"query-name","id":2}{"exec-oob":"test-oob","id":3})");
    EXPECT_EQ(client.take(), Messages{with_id(success(), 3)});
    release();
    EXPECT_EQ(client.take(), (Messages{with_id(success(), 1), with_id(success(), 2)}));
}

TEST_F(OobTest, InBandExecutionOfAnOobCommandWaits) {
    session.receive(slow(1) + R"({"execute":"test-oob","id":2})");
    EXPECT_TRUE(client.take().empty());
    release();
    EXPECT_EQ(client.take(), (Messages{with_id(success(), 1), with_id(success(), 2)}));
}

TEST_F(OobTest, RefusesCommandsThatDoNotSupportIt) {
    EXPECT_EQ(client.ask(R"({"exec-oob":"query-name","id":1})"),
              Messages{with_id(generic("The command query-name does not support OOB"), 1)});
    EXPECT_EQ(client.ask(R"({"exec-oob":"no-such"})"),
              Messages{error_reply("CommandNotFound", "The command no-such has not been found")});
}

TEST_F(OobTest, RefusesBothKindsAtOnce) {
    EXPECT_EQ(client.ask(R"({"execute":"test-oob","exec-oob":"test-oob"})"),
              Messages{generic("QMP input member 'execute' clashes with 'exec-oob'")});
}

TEST_F(OobTest, NeedsAString) {
    EXPECT_EQ(client.ask(R"({"exec-oob":1})"),
              Messages{generic("QMP input member 'exec-oob' must be a string")});
}

TEST_F(OobTest, AMalformedOobRequestIsAnsweredAtOnce) {
    session.receive(slow(1) + R"({"exec-oob":"test-oob","x":1,"id":2})");
    EXPECT_EQ(client.take(), Messages{with_id(generic("QMP input member 'x' is unexpected"), 2)});
}

TEST_F(OobTest, AMalformedInBandRequestWaits) {
    session.receive(slow(1) + R"({"execute":"query-name","x":1,"id":2} ])");
    EXPECT_TRUE(client.take().empty());
    release();
    EXPECT_EQ(client.take().size(), 3U);
}

TEST_F(OobTest, ReadsOnUntilEightWait) {
    session.receive(slow(0));
    for (int i = 1; i <= 7; ++i) {
        session.receive(slow(i));
    }
    EXPECT_TRUE(session.wants_input());
    EXPECT_EQ(client.ask(R"({"exec-oob":"test-oob","id":"oob"})"),
              Messages{with_id(success(), "oob")});
    session.receive(slow(8));
    EXPECT_FALSE(session.wants_input());
    EXPECT_TRUE(client.ask(R"({"exec-oob":"test-oob","id":"oob"})").empty());

    EXPECT_EQ(client.input_callbacks, 0U);
    release();
    EXPECT_TRUE(session.wants_input());
    EXPECT_EQ(client.input_callbacks, 1U);
    EXPECT_EQ(client.take(), (Messages{with_id(success(), 0), with_id(success(), "oob")}));
}

TEST_F(OobTest, LosesNothingThatWasReceivedWhileTheQueueWasFull) {
    std::string requests;
    for (int i = 0; i < 100; ++i) {
        requests += slow(i);
    }
    session.receive(requests);
    for (int i = 0; i < 100; ++i) {
        ASSERT_EQ(server.context.held.size(), 1U);
        release();
        EXPECT_EQ(client.take(), Messages{with_id(success(), i)});
    }
    EXPECT_TRUE(session.idle());
}

TEST_F(OobTest, ASlowOobCommandHoldsUpNothing) {
    EXPECT_TRUE(client.ask(R"({"exec-oob":"test-oob-slow","id":1})").empty());
    EXPECT_TRUE(session.wants_input());
    EXPECT_EQ(client.ask(R"({"execute":"query-name","id":2})"), Messages{with_id(success(), 2)});
    release();
    EXPECT_EQ(client.take(), Messages{with_id(success(), 1)});
}

TEST_F(OobTest, DropsTheQueueWhenTheClientGoes) {
    session.receive(slow(0) + slow(1) + slow(2));
    session.close();
    release();
    EXPECT_EQ(server.context.calls, std::vector<std::string>{"test-slow 0"});
    EXPECT_TRUE(server.context.held.empty());
}

TEST_F(OobTest, DropsQueuedRequestsOnceQuitIsUnderWay) {
    session.receive(slow(0) + R"({"execute":"quit","id":1}{"execute":"query-name","id":2})"
                              R"({"exec-oob":"test-oob","id":3})");
    EXPECT_EQ(client.take(), Messages{with_id(success(), 3)});
    release();
    EXPECT_EQ(client.take(), Messages{with_id(success(), 0)});
    EXPECT_TRUE(client.ask(R"({"exec-oob":"test-oob","id":4})").empty());
    release();
    EXPECT_EQ(client.take(), Messages{with_id(success(), 1)});
    EXPECT_EQ(server.context.calls, (std::vector<std::string>{"test-slow 0", "test-oob"}));
}

TEST_F(OobTest, IsUnderstoodInTheSameReadAsItsNegotiation) {
    Client fresh(server.dispatcher);
    fresh.session->open();
    fresh.take();
    EXPECT_EQ(fresh.ask(R"({"execute":"qmp_capabilities","arguments":{"enable":["oob"]}})"
                        R"({"exec-oob":"test-oob","id":1})"),
              (Messages{success(), with_id(success(), 1)}));
}

}  // namespace
}  // namespace halcyon
