#include "daemon/chardev/chardev.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <termios.h>

#include <fstream>
#include <iterator>
#include <thread>

#include "daemon/chardev/kinds.h"
#include "tests/daemon/loop_fixture.h"

namespace halcyon {
namespace {

class ChardevTest : public LoopTest {
protected:
    Result<std::unique_ptr<Chardev>> try_make(decltype(ChardevOptions::kind) kind) {
        return create_chardev({.id = "c", .origin = "-chardev c", .kind = std::move(kind)}, loop_);
    }
    std::unique_ptr<Chardev> make(decltype(ChardevOptions::kind) kind) {
        auto chardev = try_make(std::move(kind));
        EXPECT_TRUE(chardev) << chardev.error().message();
        return chardev ? *std::move(chardev) : nullptr;
    }
    std::unique_ptr<Chardev> make_server() {
        return make(SocketChardevOptions{.path = path("s"), .server = true});
    }
    std::string read_file(const std::string& name) {
        std::ifstream stream(path(name));
        return {std::istreambuf_iterator<char>(stream), {}};
    }
    std::string error_of(decltype(ChardevOptions::kind) kind) {
        const auto chardev = try_make(std::move(kind));
        return chardev ? "" : chardev.error().message();
    }

    RecordingFrontend frontend_;
};

// -- sockets --------------------------------------------------------------------------------------

TEST_F(ChardevTest, SocketPassesBytesBothWays) {
    const auto chardev = make_server();
    chardev->connect(&frontend_);
    EXPECT_EQ(frontend_.opened, 0);
    TestClient client(path("s"));
    EXPECT_TRUE(run_until([&] { return frontend_.opened == 1; }));
    client.send("to the device");
    EXPECT_TRUE(run_until([&] { return frontend_.input == "to the device"; }));
    EXPECT_EQ(chardev->write(as_bytes("from the device")), 15u);
    EXPECT_TRUE(run_until([&] { return client.has_received("from the device"); }));
    client.close();
    EXPECT_TRUE(run_until([&] { return frontend_.closed == 1; }));
    EXPECT_FALSE(chardev->is_open());
}

TEST_F(ChardevTest, SocketServesOneClientAfterTheOther) {
    const auto chardev = make_server();
    chardev->connect(&frontend_);
    TestClient first(path("s"));
    ASSERT_TRUE(run_until([&] { return frontend_.opened == 1; }));
    TestClient second(path("s"));
    EXPECT_TRUE(second.connected());
    second.send("early");
    run_for(std::chrono::milliseconds(5));
    EXPECT_EQ(frontend_.opened, 1);
    EXPECT_EQ(frontend_.input, "");
    first.close();
    EXPECT_TRUE(run_until([&] { return frontend_.opened == 2; }));
    EXPECT_EQ(frontend_.closed, 1);
    EXPECT_TRUE(run_until([&] { return frontend_.input == "early"; }));
}

TEST_F(ChardevTest, AClientThatWaitsIsTakenBeforeTheLoopRuns) {
    const auto chardev = make_server();
    chardev->connect(&frontend_);
    chardev->accept_waiting();
    EXPECT_EQ(frontend_.opened, 0);
    TestClient first(path("s"));
    TestClient second(path("s"));
    first.send("input");
    chardev->accept_waiting();
    EXPECT_EQ(frontend_.opened, 1);
    EXPECT_EQ(frontend_.input, "");
    EXPECT_EQ(chardev->write_now(as_bytes("output")), 6u);
    EXPECT_TRUE(first.has_received("output"));
    chardev->accept_waiting();
    EXPECT_EQ(frontend_.opened, 1);
    // In the loop all goes on as usual.
    EXPECT_TRUE(run_until([&] { return frontend_.input == "input"; }));
    first.close();
    EXPECT_TRUE(run_until([&] { return frontend_.opened == 2; }));
}

TEST_F(ChardevTest, InputWaitsUntilTheDeviceHasRoom) {
    const auto chardev = make_server();
    frontend_.room = 3;
    frontend_.consume_room = true;
    chardev->connect(&frontend_);
    TestClient client(path("s"));
    client.send("abcdef");
    EXPECT_TRUE(run_until([&] { return frontend_.input == "abc"; }));
    run_for(std::chrono::milliseconds(5));
    EXPECT_EQ(frontend_.input, "abc");
    frontend_.room = 2;
    std::jthread vcpu([&] { chardev->input_wanted(); });
    EXPECT_TRUE(run_until([&] { return frontend_.input == "abcde"; }));
}

TEST_F(ChardevTest, OutputIsBoundedAndRoomIsAnnounced) {
    const auto chardev = make_server();
    chardev->connect(&frontend_);
    TestClient client(path("s"));
    ASSERT_TRUE(run_until([&] { return frontend_.opened == 1; }));
    // A client that does not read: the kernel's buffer and ours fill up.
    const std::string block(4096, 'x');
    size_t taken = 0;
    size_t last = block.size();
    while (last == block.size() && taken < (size_t{64} << 20)) {
        last = chardev->write(as_bytes(block));
        taken += last;
        run_for(std::chrono::milliseconds(1));
    }
    ASSERT_LT(last, block.size());
    EXPECT_EQ(chardev->write(as_bytes("y")), 0u);
    EXPECT_FALSE(chardev->drained());
    EXPECT_EQ(frontend_.writable, 0);
    EXPECT_TRUE(run_until([&] {
        client.receive_now();
        return frontend_.writable > 0 && chardev->drained();
    }));
    client.receive_now();
    EXPECT_EQ(client.received.size(), taken);
}

TEST_F(ChardevTest, OutputWithoutPeerIsDiscarded) {
    const auto chardev = make_server();
    chardev->connect(&frontend_);
    const std::string much(size_t{1} << 20, 'x');
    EXPECT_EQ(chardev->write(as_bytes(much)), much.size());
    EXPECT_TRUE(chardev->drained());
    TestClient client(path("s"));
    ASSERT_TRUE(run_until([&] { return frontend_.opened == 1; }));
    EXPECT_EQ(chardev->write(as_bytes("new")), 3u);
    EXPECT_TRUE(run_until([&] { return client.has_received("new"); }));
    EXPECT_EQ(client.received, "new");
}

TEST_F(ChardevTest, AStarvedDeviceIsToldWhenThePeerGoes) {
    const auto chardev = make_server();
    chardev->connect(&frontend_);
    TestClient client(path("s"));
    ASSERT_TRUE(run_until([&] { return frontend_.opened == 1; }));
    const std::string much(size_t{4} << 20, 'x');
    ASSERT_LT(chardev->write(as_bytes(much)), much.size());
    client.close();
    EXPECT_TRUE(run_until([&] { return frontend_.closed == 1; }));
    EXPECT_GE(frontend_.writable, 1);
}

TEST_F(ChardevTest, WritesOfManyThreadsAllArrive) {
    const auto chardev = make_server();
    chardev->connect(&frontend_);
    TestClient client(path("s"));
    ASSERT_TRUE(run_until([&] { return frontend_.opened == 1; }));
    constexpr size_t kThreads = 4;
    constexpr size_t kBytes = 20000;
    std::vector<std::jthread> threads;
    for (size_t number = 0; number < kThreads; ++number) {
        threads.emplace_back([&] {
            for (size_t sent = 0; sent < kBytes;) {
                sent += chardev->write(as_bytes("z"));
            }
        });
    }
    EXPECT_TRUE(run_until([&] {
        client.receive_now();
        return client.received.size() == kThreads * kBytes;
    }));
}

TEST_F(ChardevTest, WriteNowReachesTheKernelAtOnce) {
    const auto chardev = make_server();
    chardev->connect(&frontend_);
    TestClient client(path("s"));
    ASSERT_TRUE(run_until([&] { return frontend_.opened == 1; }));
    EXPECT_EQ(chardev->write_now(as_bytes("now")), 3u);
    EXPECT_TRUE(client.has_received("now"));
}

TEST_F(ChardevTest, WriteNowKeepsTheOrderOfEarlierWrites) {
    const auto chardev = make_server();
    chardev->connect(&frontend_);
    TestClient client(path("s"));
    ASSERT_TRUE(run_until([&] { return frontend_.opened == 1; }));
    ASSERT_EQ(chardev->write(as_bytes("first ")), 6u);
    ASSERT_EQ(chardev->write_now(as_bytes("second")), 6u);
    EXPECT_TRUE(run_until([&] { return client.has_received("first second"); }));
}

TEST_F(ChardevTest, AHalfClosedPeerIsHeldWhileSomethingIsOwed) {
    const auto chardev = make_server();
    bool owed = true;
    chardev->set_hold([&] { return owed; });
    chardev->connect(&frontend_);
    TestClient client(path("s"));
    client.send("request");
    client.shut_down_sending();
    EXPECT_TRUE(run_until([&] { return frontend_.input == "request"; }));
    run_for(std::chrono::milliseconds(5));
    EXPECT_TRUE(chardev->is_open());
    EXPECT_EQ(chardev->write_now(as_bytes("reply")), 5u);
    owed = false;
    chardev->recheck_end();
    EXPECT_TRUE(run_until([&] { return !client.receive_now(); }));
    EXPECT_EQ(client.received, "reply");
}

TEST_F(ChardevTest, ADisconnectedFrontendIsNotCalled) {
    const auto chardev = make_server();
    chardev->connect(&frontend_);
    TestClient client(path("s"));
    ASSERT_TRUE(run_until([&] { return frontend_.opened == 1; }));
    chardev->connect(nullptr);
    client.send("x");
    run_for(std::chrono::milliseconds(5));
    EXPECT_EQ(frontend_.input, "");
    // A new front end is told of the peer, and gets what waited.
    RecordingFrontend other;
    chardev->connect(&other);
    EXPECT_EQ(other.opened, 1);
    EXPECT_TRUE(run_until([&] { return other.input == "x"; }));
}

// -- socket files ---------------------------------------------------------------------------------

TEST_F(ChardevTest, SocketFileIsPrivateAndRemovedAtTheEnd) {
    auto chardev = make_server();
    struct stat status {};
    ASSERT_EQ(stat(path("s").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600u);
    chardev.reset();
    EXPECT_NE(stat(path("s").c_str(), &status), 0);
}

TEST_F(ChardevTest, SocketFileOfAnotherIsLeftAlone) {
    auto chardev = make_server();
    std::filesystem::remove(path("s"));
    std::ofstream(path("s")) << "another's";
    chardev.reset();
    EXPECT_TRUE(std::filesystem::exists(path("s")));
}

TEST_F(ChardevTest, StaleSocketIsReplaced) {
    {
        const UniqueFd stale(::socket(AF_UNIX, SOCK_STREAM, 0));
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        path("s").copy(address.sun_path, sizeof(address.sun_path) - 1);
        ASSERT_EQ(bind(stale.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    }
    ASSERT_TRUE(std::filesystem::exists(path("s")));
    const auto chardev = make_server();
    ASSERT_NE(chardev, nullptr);
    EXPECT_TRUE(TestClient(path("s")).connected());
}

TEST_F(ChardevTest, SocketInUseIsRefusedAndSurvives) {
    const auto chardev = make_server();
    const std::string error = error_of(SocketChardevOptions{.path = path("s"), .server = true});
    EXPECT_NE(error.find("is in use"), std::string::npos) << error;
    EXPECT_EQ(error.rfind("-chardev c: ", 0), 0u);
    EXPECT_TRUE(TestClient(path("s")).connected());
}

TEST_F(ChardevTest, AFileThatIsNoSocketIsNotReplaced) {
    std::ofstream(path("s")) << "precious";
    const std::string error = error_of(SocketChardevOptions{.path = path("s"), .server = true});
    EXPECT_NE(error.find("is no socket"), std::string::npos) << error;
    EXPECT_EQ(read_file("s"), "precious");
}

TEST_F(ChardevTest, ListeningInAMissingDirectoryNamesThePath) {
    const std::string error = error_of(SocketChardevOptions{.path = path("no/s"), .server = true});
    EXPECT_NE(error.find(path("no/s") + "': No such file"), std::string::npos) << error;
}

TEST_F(ChardevTest, AbstractSocketsWorkAndMakeNoFile) {
    const std::string name = "halcyon-test-" + std::to_string(getpid());
    const SocketChardevOptions options{.path = name, .abstract = true, .server = true};
    const auto chardev = make(options);
    EXPECT_NE(error_of(options).find("is in use"), std::string::npos);
    chardev->connect(&frontend_);
    const auto client = make(SocketChardevOptions{.path = name, .abstract = true});
    ASSERT_NE(client, nullptr);
    EXPECT_TRUE(client->is_open());
    EXPECT_TRUE(run_until([&] { return frontend_.opened == 1; }));
    EXPECT_FALSE(std::filesystem::exists(name));
}

TEST_F(ChardevTest, ClientWithoutServerIsAnError) {
    const std::string error = error_of(SocketChardevOptions{.path = path("s")});
    EXPECT_NE(error.find("cannot connect to"), std::string::npos) << error;
}

TEST_F(ChardevTest, InheritedSocketsAreServed) {
    const auto server = make_server();
    auto* socket = static_cast<SocketChardev*>(server.get());
    EXPECT_EQ(socket->filename(), "disconnected:unix:" + path("s") + ",server=on");
    int pair[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    const UniqueFd peer(pair[1]);
    const auto chardev = make(SocketChardevOptions{.fd = pair[0]});
    ASSERT_NE(chardev, nullptr);
    chardev->connect(&frontend_);
    EXPECT_EQ(frontend_.opened, 1);
    ASSERT_EQ(::send(peer.get(), "hi", 2, 0), 2);
    EXPECT_TRUE(run_until([&] { return frontend_.input == "hi"; }));
}

TEST_F(ChardevTest, InheritedDescriptorsThatAreNotWhatTheyShouldBeAreRefused) {
    EXPECT_NE(error_of(SocketChardevOptions{.fd = 999, .server = true}).find("fd=999"),
              std::string::npos);
    const UniqueFd file(open("/dev/null", O_RDWR | O_CLOEXEC));
    EXPECT_NE(error_of(SocketChardevOptions{.fd = file.get(), .server = true}).find("non-socket"),
              std::string::npos);
    int pair[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    const UniqueFd first(pair[0]);
    const UniqueFd second(pair[1]);
    EXPECT_NE(error_of(SocketChardevOptions{.fd = pair[0], .server = true}).find("does not listen"),
              std::string::npos);
}

TEST_F(ChardevTest, WaitingForAClientCanBeCancelled) {
    const auto chardev =
        make(SocketChardevOptions{.path = path("s"), .server = true, .wait = true});
    auto& socket = static_cast<SocketChardev&>(*chardev);
    const UniqueFd cancel(eventfd(1, EFD_CLOEXEC));
    EXPECT_FALSE(socket.wait_for_client(cancel.get()).value());
    const UniqueFd quiet(eventfd(0, EFD_CLOEXEC));
    TestClient client(path("s"));
    EXPECT_TRUE(socket.wait_for_client(quiet.get()).value());
    EXPECT_TRUE(chardev->is_open());
}

TEST_F(ChardevTest, RunningOutOfDescriptorsDelaysAClientWithoutSpinning) {
#ifdef HALCYON_UBSAN
    GTEST_SKIP() << "UBSan's check of object types needs descriptors itself, and fails without";
#endif
    const auto chardev = make_server();
    chardev->connect(&frontend_);
    TestClient client(path("s"));
    rlimit before{};
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    const UniqueFd highest(fcntl(client.fd(), F_DUPFD_CLOEXEC, 0));
    rlimit none = before;
    none.rlim_cur = static_cast<rlim_t>(highest.get());
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    timespec start{};
    timespec end{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
    run_for(std::chrono::milliseconds(250));
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
    EXPECT_EQ(frontend_.opened, 0);
    const auto used = (end.tv_sec - start.tv_sec) * 1000 + (end.tv_nsec - start.tv_nsec) / 1000000;
    EXPECT_LT(used, 100) << "milliseconds of CPU time in 250";
    EXPECT_TRUE(run_until([&] { return frontend_.opened == 1; }));
}

// -- the others -----------------------------------------------------------------------------------

TEST_F(ChardevTest, NullIsAlwaysOpenAndTakesEverything) {
    const auto chardev = make(NullChardevOptions());
    chardev->connect(&frontend_);
    EXPECT_EQ(frontend_.opened, 1);
    const std::string much(size_t{1} << 20, 'x');
    EXPECT_EQ(chardev->write(as_bytes(much)), much.size());
    EXPECT_EQ(chardev->write_now(as_bytes(much)), much.size());
    EXPECT_TRUE(chardev->drained());
}

TEST_F(ChardevTest, FileIsTruncatedOrAppendedTo) {
    std::ofstream(path("f")) << "old";
    {
        const auto chardev = make(FileChardevOptions{.path = path("f"), .append = true});
        chardev->connect(&frontend_);
        EXPECT_EQ(frontend_.opened, 1);
        ASSERT_EQ(chardev->write(as_bytes("+new")), 4u);
        EXPECT_TRUE(run_until([&] { return chardev->drained(); }));
    }
    EXPECT_EQ(read_file("f"), "old+new");
    const auto chardev = make(FileChardevOptions{.path = path("f")});
    ASSERT_EQ(chardev->write(as_bytes("fresh")), 5u);
    EXPECT_TRUE(run_until([&] { return chardev->drained(); }));
    EXPECT_EQ(read_file("f"), "fresh");
}

TEST_F(ChardevTest, AFloodLeavesNoHolesInAFile) {
    const auto chardev = make(FileChardevOptions{.path = path("f")});
    std::string flood;
    for (int i = 0; flood.size() < 1024 * 1024; ++i) {
        flood += std::to_string(i) + "\n";
    }
    ASSERT_EQ(chardev->write(as_bytes(flood)), flood.size());
    EXPECT_TRUE(chardev->drained());
    EXPECT_EQ(read_file("f"), flood);
}

TEST_F(ChardevTest, AFullDiskDiscardsInsteadOfBlocking) {
    const auto chardev = make(FileChardevOptions{.path = "/dev/full"});
    chardev->connect(&frontend_);
    const std::string block(Chardev::kOutputLimit, 'x');
    EXPECT_EQ(chardev->write(as_bytes(block)), block.size());
    EXPECT_TRUE(run_until([&] { return chardev->drained(); }));
    EXPECT_EQ(chardev->write(as_bytes(block)), block.size());
    EXPECT_TRUE(run_until([&] { return chardev->drained(); }));
    EXPECT_EQ(frontend_.closed, 0);
}

TEST_F(ChardevTest, FileThatCannotBeOpenedIsNamed) {
    const std::string error = error_of(FileChardevOptions{.path = path("no/f")});
    EXPECT_NE(error.find("cannot open '" + path("no/f") + "'"), std::string::npos) << error;
}

TEST_F(ChardevTest, PtyFollowsWhoOpensItsOtherSide) {
    testing::internal::CaptureStdout();
    const auto chardev = make(PtyChardevOptions());
    const std::string printed = testing::internal::GetCapturedStdout();
    ASSERT_NE(chardev, nullptr);
    const std::string slave_path = static_cast<PtyChardev&>(*chardev).path();
    EXPECT_EQ(printed, "char device redirected to " + slave_path + " (label c)\n");
    chardev->connect(&frontend_);
    run_for(std::chrono::milliseconds(5));
    EXPECT_EQ(frontend_.opened, 0);
    EXPECT_EQ(chardev->write(as_bytes("lost")), 4u);

    for (int round = 1; round <= 2; ++round) {
        UniqueFd slave(open(slave_path.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
        ASSERT_TRUE(slave);
        EXPECT_TRUE(run_until([&] { return frontend_.opened == round; }));
        termios mode{};
        ASSERT_EQ(tcgetattr(slave.get(), &mode), 0);
        EXPECT_EQ(mode.c_lflag & ECHO, 0u) << "not raw";
        frontend_.input.clear();
        ASSERT_EQ(::write(slave.get(), "in\r\n", 4), 4);
        EXPECT_TRUE(run_until([&] { return frontend_.input == "in\r\n"; }));
        ASSERT_EQ(chardev->write(as_bytes("out")), 3u);
        std::string output;
        EXPECT_TRUE(run_until([&] {
            char buffer[16];
            const ssize_t got = ::read(slave.get(), buffer, sizeof(buffer));
            output.append(buffer, got > 0 ? static_cast<size_t>(got) : 0);
            return output == "out";
        }));
        slave.reset();
        EXPECT_TRUE(run_until([&] { return frontend_.closed == round; }));
    }
}

}  // namespace
}  // namespace halcyon
