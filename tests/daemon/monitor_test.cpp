#include "daemon/monitor/monitor.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "daemon/chardev/kinds.h"
#include "daemon/command_context.h"
#include "machine/machine.h"
#include "tests/daemon/loop_fixture.h"

namespace halcyon {
namespace {

class SilentObserver : public MachineObserver {
public:
    void on_stopped() override {}
    void on_resumed() override {}
    void on_reset(ShutdownCause) override {}
    void on_powerdown() override {}
    void on_shutdown(ShutdownCause) override {}
    void on_ended() override {}
};

/// Replies that the command "later" still owes; the test gives them.
std::vector<ReplySink>* owed = nullptr;

constexpr size_t kLargeReply = 100'000;

void run_capabilities(CommandContext&, Session& session, const Json& arguments, ReplySink reply) {
    session.negotiate(arguments.contains("enable"), Reply<void>(std::move(reply)));
}
void run_large(CommandContext&, Session&, const Json&, ReplySink reply) {
    reply(Json(std::string(kLargeReply, 'L')));
}
void run_later(CommandContext&, Session&, const Json&, ReplySink reply) {
    owed->push_back(std::move(reply));
}
void run_nothing(CommandContext&, Session&, const Json&, ReplySink reply) {
    reply(Json::object());
}

CommandEntry entry(std::string_view name, CommandFunction function) {
    CommandEntry result;
    result.name = name;
    result.function = function;
    return result;
}

/// Two monitors of one dispatcher whose commands are the functions above.
class MonitorTest : public LoopTest {
protected:
    MonitorTest()
        : machine_(make_machine()),
          context_(
              *machine_, {}, chardevs_, descriptor_sets_, objects_,
              [this](const Session&) -> Monitor& { return *monitors_.front(); },
              [](ShutdownCause, const Machine::Done&) {}),
          table_{entry("large", run_large), entry("later", run_later),
                 entry("nothing", run_nothing), entry("qmp_capabilities", run_capabilities)},
          dispatcher_(table_, context_) {
        table_[3].negotiates = true;
        owed = &owed_;
        for (const char* name : {"a", "b"}) {
            Chardev* chardev =
                *chardevs_.add({.id = name,
                                .origin = name,
                                .kind = SocketChardevOptions{.path = path(name), .server = true}});
            monitors_.push_back(std::make_unique<Monitor>(
                *chardev, dispatcher_, SessionConfig{.version = {}, .package = "test"}, loop_));
            monitors_.back()->start();
        }
    }

    std::unique_ptr<Machine> make_machine() {
        MachineConfig config;
        config.board = BoardKind::kNone;
        return *Machine::create(std::move(config), loop_, observer_);
    }
    /// Runs the loop until the client has received `text`.
    bool receives(TestClient& client, std::string_view text) {
        return run_until([&] { return client.has_received(text); });
    }
    /// Runs the loop until the daemon has closed the connection.
    bool is_closed(TestClient& client) {
        return run_until([&] { return !client.receive_now(); });
    }
    void negotiate(TestClient& client) {
        client.send(R"({"execute": "qmp_capabilities"})");
        ASSERT_TRUE(receives(client, R"({"return": {}})"));
        client.received.clear();
    }

    SilentObserver observer_;
    std::unique_ptr<Machine> machine_;
    ChardevRegistry chardevs_{loop_};
    DescriptorSets descriptor_sets_;
    qom::UserObjects objects_;
    CommandContext context_;
    std::vector<CommandEntry> table_;
    Dispatcher dispatcher_;
    std::vector<ReplySink> owed_;
    std::vector<std::unique_ptr<Monitor>> monitors_;
};

size_t count(const std::string& text, std::string_view part) {
    size_t found = 0;
    for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
        ++found;
    }
    return found;
}

TEST_F(MonitorTest, GreetsEachClientAnew) {
    for (int round = 0; round < 3; ++round) {
        TestClient client(path("a"));
        ASSERT_TRUE(receives(client, "\r\n"));
        EXPECT_EQ(client.received.rfind(R"({"QMP": )", 0), 0u) << client.received;
        client.received.clear();
        // The state of the client before is gone with it.
        client.send(R"({"execute": "nothing"})");
        ASSERT_TRUE(receives(client, "Expecting capabilities negotiation"));
        negotiate(client);
    }
}

TEST_F(MonitorTest, SendsEventsOnlyToNegotiatedClients) {
    TestClient negotiated(path("a"));
    TestClient other(path("b"));
    ASSERT_TRUE(receives(other, "QMP"));
    negotiate(negotiated);
    for (const auto& monitor : monitors_) {
        monitor->emit(Event("STOP"));
    }
    EXPECT_TRUE(receives(negotiated, R"("event": "STOP")"));
    other.send(R"({"execute": "qmp_capabilities"})");
    EXPECT_TRUE(receives(other, "return"));
    EXPECT_EQ(other.received.find("STOP"), std::string::npos);
}

TEST_F(MonitorTest, AnswersManyRequestsOfOneWriteInOrder) {
    TestClient client(path("a"));
    negotiate(client);
    std::string requests;
    std::string expected;
    for (int id = 0; id < 500; ++id) {
        requests += R"({"execute": "nothing", "id": )" + std::to_string(id) + "}";
        expected += R"({"return": {}, "id": )" + std::to_string(id) + "}\r\n";
    }
    client.send(requests);
    EXPECT_TRUE(run_until([&] {
        client.receive_now();
        return client.received.size() >= expected.size();
    }));
    EXPECT_EQ(client.received, expected);
}

TEST_F(MonitorTest, TakesRequestsAByteAtATime) {
    TestClient client(path("a"));
    negotiate(client);
    for (const char byte : std::string_view(R"({"execute": "nothing", "id": "x}{"})")) {
        client.send(std::string_view(&byte, 1));
        run_for(std::chrono::milliseconds(0));
    }
    EXPECT_TRUE(receives(client, R"({"return": {}, "id": "x}{"})"));
}

TEST_F(MonitorTest, StopsReadingAClientThatDoesNotReadAndServesTheOthers) {
    TestClient deaf(path("a"));
    TestClient other(path("b"));
    negotiate(deaf);
    negotiate(other);
    const std::string request = R"({"execute": "large"})";
    size_t requests = 0;
    // Until the kernel's buffers are full both ways.
    for (int quiet = 0; quiet < 20;) {
        const size_t sent = deaf.send_now(request);
        ASSERT_TRUE(sent == 0 || sent == request.size());
        requests += sent / request.size();
        quiet = sent == 0 ? quiet + 1 : 0;
        if (sent == 0) {
            run_for(std::chrono::milliseconds(1));
        }
    }
    ASSERT_GT(requests * kLargeReply, size_t{8} << 20);
    EXPECT_LE(monitors_[0]->unsent(), Monitor::kInputLimit + kLargeReply + 100);
    other.send(R"({"execute": "nothing"})");
    EXPECT_TRUE(receives(other, "return"));
    // Once it reads, it gets every reply.
    size_t replies = 0;
    EXPECT_TRUE(run_until([&] {
        deaf.receive_now();
        replies += count(deaf.received, "\r\n");
        deaf.received.erase(0, deaf.received.rfind('\n') + 1);
        return replies == requests;
    })) << replies
        << " of " << requests;
}

TEST_F(MonitorTest, DropsAndCountsEventsBeyondTheLimit) {
    TestClient deaf(path("a"));
    TestClient other(path("b"));
    negotiate(deaf);
    negotiate(other);
    const Event event("STOP", {{"filler", std::string(4000, 'f')}});
    constexpr size_t kEvents = 2000;
    for (size_t number = 0; number < kEvents; ++number) {
        for (const auto& monitor : monitors_) {
            monitor->emit(event);
        }
        other.receive_now();
        if (number % 50 == 0) {
            run_for(std::chrono::milliseconds(0));
        }
    }
    EXPECT_GT(monitors_[0]->dropped_events(), 0u);
    EXPECT_EQ(monitors_[1]->dropped_events(), 0u);
    EXPECT_LE(monitors_[0]->unsent(), Monitor::kEventLimit + 5000);
    EXPECT_TRUE(run_until([&] {
        other.receive_now();
        return count(other.received, "STOP") == kEvents;
    }));
    EXPECT_TRUE(run_until([&] {
        deaf.receive_now();
        return monitors_[0]->drained() &&
               count(deaf.received, "STOP") + monitors_[0]->dropped_events() == kEvents;
    }));
    // Afterwards events arrive again.
    deaf.received.clear();
    monitors_[0]->emit(Event("RESUME"));
    EXPECT_TRUE(receives(deaf, "RESUME"));
}

TEST_F(MonitorTest, OutlivesAClientThatGoesWhileItsCommandRuns) {
    {
        TestClient client(path("a"));
        negotiate(client);
        client.send(R"({"execute": "later"}{"execute": "nothing"})");
        ASSERT_TRUE(run_until([&] { return owed_.size() == 1; }));
    }
    run_for(std::chrono::milliseconds(2));
    owed_[0](Json::object());
    // The next client is greeted, and gets nothing that was meant for the first.
    TestClient next(path("a"));
    ASSERT_TRUE(receives(next, "\r\n"));
    run_for(std::chrono::milliseconds(2));
    next.receive_now();
    EXPECT_EQ(count(next.received, "\r\n"), 1u) << next.received;
}

TEST_F(MonitorTest, AnswersAHalfClosedClientThenCloses) {
    TestClient client(path("a"));
    client.send(R"({"execute": "qmp_capabilities"}{"execute": "later", "id": 1})");
    client.send(R"({"execute": "nothing", "id": 2})");
    client.shut_down_sending();
    ASSERT_TRUE(run_until([&] { return owed_.size() == 1; }));
    run_for(std::chrono::milliseconds(2));
    EXPECT_TRUE(client.receive_now());
    owed_[0](Json::object());
    EXPECT_TRUE(is_closed(client));
    EXPECT_NE(client.received.find(R"({"return": {}, "id": 1})"), std::string::npos);
    EXPECT_NE(client.received.find(R"({"return": {}, "id": 2})"), std::string::npos);
}

TEST_F(MonitorTest, ReadsNoFurtherWhileACommandRuns) {
    TestClient client(path("a"));
    negotiate(client);
    client.send(R"({"execute": "later", "id": 1})");
    ASSERT_TRUE(run_until([&] { return owed_.size() == 1; }));
    size_t sent = 0;
    const std::string request = R"({"execute": "nothing"})";
    for (int quiet = 0; quiet < 5;) {
        const size_t now = client.send_now(request);
        sent += now / request.size();
        quiet = now == 0 ? quiet + 1 : 0;
        if (now == 0) {
            run_for(std::chrono::milliseconds(1));
        }
    }
    EXPECT_EQ(monitors_[0]->can_receive(), 0u);
    owed_[0](Json::object());
    EXPECT_TRUE(run_until([&] {
        client.receive_now();
        return count(client.received, "\r\n") == sent + 1;
    }));
}

TEST_F(MonitorTest, SurvivesGarbage) {
    TestClient client(path("a"));
    std::string garbage;
    for (int number = 0; number < 20000; ++number) {
        garbage += static_cast<char>(number * 7919 >> 3);
    }
    client.send(garbage);
    client.send("\xff{\"execute\": \"qmp_capabilities\", \"id\": \"after\"}");
    EXPECT_TRUE(receives(client, R"("id": "after")"));
}

}  // namespace
}  // namespace halcyon
