// What is checked before a command runs: in which order, and in which words.
#include "protocol/dispatcher.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "test_commands.h"

namespace halcyon {
namespace {

class DispatcherTest : public testing::Test {
protected:
    /// The one reply to `request`.
    Json ask(std::string_view request) {
        const std::vector<Json> replies = client.ask(request);
        EXPECT_EQ(replies.size(), 1U) << request;
        return replies.empty() ? Json() : replies[0];
    }

    Server server;
    Client client{server.dispatcher};
    DispatcherTest() { client.negotiate(); }
};

TEST_F(DispatcherTest, RunsACommand) {
    EXPECT_EQ(ask(R"({"execute":"query-name"})"), success());
    EXPECT_EQ(server.context.calls, std::vector<std::string>{"query-name"});
}

TEST_F(DispatcherTest, TakesEmptyArguments) {
    EXPECT_EQ(ask(R"({"execute":"query-name","arguments":{}})"), success());
}

TEST_F(DispatcherTest, RefusesWhatIsNotAnObject) {
    for (const char* request : {"[]", "\"x\"", "1 ", "null ", R"([{"id":1}])"}) {
        EXPECT_EQ(ask(request), generic("QMP input must be a JSON object"));
    }
}

TEST_F(DispatcherTest, AnswersAParseErrorWithoutId) {
    EXPECT_EQ(ask(R"({"id":1,"id":2})"), generic("JSON parse error, duplicate key"));
}

TEST_F(DispatcherTest, NeedsAStringToExecute) {
    EXPECT_EQ(ask(R"({"execute":1,"id":7})"),
              with_id(generic("QMP input member 'execute' must be a string"), 7));
}

TEST_F(DispatcherTest, NeedsAnObjectOfArguments) {
    for (const char* arguments : {"[]", "null", "1", "\"x\""}) {
        EXPECT_EQ(ask(R"({"execute":"query-name","arguments":)" + std::string(arguments) + "}"),
                  generic("QMP input member 'arguments' must be an object"));
    }
}

TEST_F(DispatcherTest, NeedsSomethingToExecute) {
    EXPECT_EQ(ask("{}"), generic("QMP input lacks member 'execute'"));
    EXPECT_EQ(ask(R"({"id":[1],"arguments":{}})"),
              with_id(generic("QMP input lacks member 'execute'"), Json::parse("[1]")));
}

TEST_F(DispatcherTest, RefusesOtherMembers) {
    EXPECT_EQ(ask(R"({"execute":"query-name","x":1,"id":null})"),
              with_id(generic("QMP input member 'x' is unexpected"), nullptr));
}

TEST_F(DispatcherTest, TakesExecOobForAnyOtherMemberWithoutTheCapability) {
    EXPECT_EQ(ask(R"({"exec-oob":"test-oob"})"),
              generic("QMP input member 'exec-oob' is unexpected"));
}

TEST_F(DispatcherTest, DoesNotKnowOtherCommands) {
    EXPECT_EQ(ask(R"({"execute":"no-such","id":1})"),
              with_id(error_reply("CommandNotFound", "The command no-such has not been found"), 1));
    EXPECT_EQ(ask(R"({"execute":""})"),
              error_reply("CommandNotFound", "The command  has not been found"));
    EXPECT_EQ(ask(R"({"execute":"query-name\u0000"})")["error"]["class"], "CommandNotFound");
}

TEST_F(DispatcherTest, TellsAnUnknownCommandBeforeItsArguments) {
    EXPECT_EQ(ask(R"({"execute":"no-such","arguments":{"x":1}})")["error"]["class"],
              "CommandNotFound");
}

TEST_F(DispatcherTest, EchoesAnyId) {
    for (const char* id : {"0", "-9223372036854775808", "18446744073709551615", "0.5", "\"x\"",
                           "null", "true", "{\"a\": [1, {}]}", "\"\\u00E9\\u0000\""}) {
        client.session->receive(R"({"execute":"query-name","id":)" + std::string(id) + "}");
        ASSERT_EQ(client.sent.size(), 1U);
        EXPECT_EQ(client.sent[0], R"({"return": {}, "id": )" + std::string(id) + "}\r\n");
        client.sent.clear();
    }
}

TEST_F(DispatcherTest, RefusesArgumentsThatACommandDoesNotTake) {
    EXPECT_EQ(ask(R"({"execute":"query-name","arguments":{"x":1}})"),
              generic("Parameter 'x' is unexpected"));
    EXPECT_TRUE(server.context.calls.empty());
}

TEST_F(DispatcherTest, AnswersErrorsOfCommandsWithTheirClass) {
    EXPECT_EQ(ask(R"({"execute":"test-fail","arguments":{"code":"not-found"}})"),
              error_reply("DeviceNotFound", "Device 'x' not found"));
    EXPECT_EQ(ask(R"({"execute":"test-fail","arguments":{"code":"not-active"}})"),
              error_reply("DeviceNotActive", "No balloon device has been activated"));
    EXPECT_EQ(ask(R"({"execute":"test-fail","arguments":{"code":""}})"), generic("Something else"));
}

TEST_F(DispatcherTest, AnswersGenericErrorWhereTheSchemaListsNoClass) {
    EXPECT_EQ(ask(R"({"execute":"test-fail-unlisted"})"), generic("object 'x' not found"));
}

TEST_F(DispatcherTest, AnswersForACommandThatDroppedItsReply) {
    EXPECT_EQ(ask(R"({"execute":"test-drop","id":3})"),
              with_id(generic("Internal error: the command was dropped unanswered"), 3));
    EXPECT_EQ(ask(R"({"execute":"query-name"})"), success());
}

TEST_F(DispatcherTest, KnowsVendorExtensions) {
    EXPECT_EQ(ask(R"({"execute":"__org.test_vendor-extension"})"), success());
}

TEST_F(DispatcherTest, AllowsOnlySomeCommandsBeforeMachineInitialisation) {
    server.dispatcher.set_phase_source([] { return MachinePhase{.preconfig = true}; });
    EXPECT_EQ(ask(R"({"execute":"query-name"})"), success());
    EXPECT_EQ(ask(R"({"execute":"test-empty","arguments":{"x":1}})"),
              generic("The command 'test-empty' is permitted only after machine initialization "
                      "has completed"));
    EXPECT_EQ(ask(R"({"execute":"no-such"})")["error"]["class"], "CommandNotFound");
}

TEST_F(DispatcherTest, RefusesACommandInTheRunStatesThatItsEntryNames) {
    qmp::RunState state = qmp::RunState::kRunning;
    server.dispatcher.set_phase_source(
        [&] { return MachinePhase{.run_state = static_cast<unsigned>(state)}; });
    EXPECT_EQ(ask(R"({"execute":"test-state"})"), success());
    state = qmp::RunState::kBroken;
    EXPECT_EQ(ask(R"({"execute":"test-state"})"),
              generic("Resetting the Virtual Machine is required"));
    state = qmp::RunState::kGuestPanicked;
    EXPECT_EQ(ask(R"({"execute":"test-state"})"), success());
}

TEST_F(DispatcherTest, ListsItsCommands) {
    const Json reply = ask(R"({"execute":"query-commands"})");
    ASSERT_EQ(reply["return"].size(), qmp::command_table().size());
    for (size_t i = 0; i < qmp::command_table().size(); ++i) {
        EXPECT_EQ(reply["return"][i], (Json{{"name", qmp::command_table()[i].name}}));
    }
}

TEST_F(DispatcherTest, GivesNoReplyWhileItRefusesNewCommands) {
    server.dispatcher.refuse_new_commands();
    EXPECT_TRUE(client.ask(R"({"execute":"query-name"} nonsense {"x":1} [] ])").empty());
    EXPECT_TRUE(server.context.calls.empty());
    server.dispatcher.refuse_new_commands(false);
    EXPECT_EQ(ask(R"({"execute":"query-name"})"), success());
}

TEST_F(DispatcherTest, AnswersASecondQuitToo) {
    Client second(server.dispatcher);
    second.negotiate();
    client.session->receive(R"({"execute":"quit","id":1})");
    second.session->receive(R"({"execute":"query-name"}{"execute":"quit","id":2})");
    ASSERT_EQ(server.context.held.size(), 2U);
    for (Reply<void>& reply : server.context.held) {
        reply();
    }
    EXPECT_EQ(client.take(), std::vector<Json>{with_id(success(), 1)});
    EXPECT_EQ(second.take(), std::vector<Json>{with_id(success(), 2)});
}

TEST_F(DispatcherTest, AnswersWhatRanBeforeAQuit) {
    Client other(server.dispatcher);
    other.negotiate();
    other.session->receive(R"({"execute":"test-slow"})");
    client.session->receive(R"({"execute":"quit"})");
    server.context.held.front()();
    EXPECT_EQ(other.take(), std::vector<Json>{success()});
}

TEST(CommandTable, IsSortedAndFindsEachEntry) {
    const Server server;
    for (const CommandEntry& entry : qmp::command_table()) {
        EXPECT_EQ(server.dispatcher.find(entry.name), &entry);
    }
    EXPECT_EQ(server.dispatcher.find("zzz"), nullptr);
    EXPECT_EQ(server.dispatcher.find(""), nullptr);
}

}  // namespace
}  // namespace halcyon
