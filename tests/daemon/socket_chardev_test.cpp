// The socket back end's transports: TCP, reconnecting clients, WebSocket, passed descriptors; and
// the ring buffer.

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>

#include <cstring>

#include "daemon/chardev/kinds.h"
#include "daemon/chardev/websocket_bridge.h"
#include "tests/daemon/loop_fixture.h"

namespace halcyon {
namespace {

/// The port in "...:PORT,server=on...".
uint16_t port_of(const std::string& filename) {
    const size_t colon = filename.rfind(':', filename.find(','));
    return static_cast<uint16_t>(std::stoul(filename.substr(colon + 1)));
}

class SocketTest : public LoopTest {
protected:
    std::unique_ptr<Chardev> make(decltype(ChardevOptions::kind) kind) {
        auto chardev =
            create_chardev({.id = "c", .origin = "-chardev c", .kind = std::move(kind)}, loop_);
        EXPECT_TRUE(chardev) << chardev.error().message();
        if (!chardev) {
            return nullptr;
        }
        (*chardev)->connect(&frontend_);
        return *std::move(chardev);
    }
    static SocketChardevOptions tcp_server(uint16_t port = 0) {
        return {.server = true, .inet = InetOptions{.host = "127.0.0.1", .port = port}};
    }
    static SocketChardevOptions tcp_client(uint16_t port) {
        return {.inet = InetOptions{.host = "127.0.0.1", .port = port}};
    }
    static TestClient connect(const Chardev& server) {
        return TestClient(TestClient::TcpPort{port_of(server.filename())});
    }

    RecordingFrontend frontend_;
};

// -- TCP ------------------------------------------------------------------------------------------

TEST_F(SocketTest, TcpPassesBytesBothWays) {
    const auto server = make(tcp_server());
    TestClient client = connect(*server);
    ASSERT_TRUE(client.connected());
    client.send("in");
    EXPECT_TRUE(run_until([&] { return frontend_.input == "in"; }));
    EXPECT_EQ(server->write(as_bytes("out")), 3u);
    EXPECT_TRUE(run_until([&] { return client.has_received("out"); }));
}

TEST_F(SocketTest, TcpNamesBothSidesAsQemuDoes) {
    const auto server = make(tcp_server());
    const std::string idle = server->filename();
    const std::string port = std::to_string(port_of(idle));
    EXPECT_EQ(idle, "disconnected:tcp:127.0.0.1:" + port + ",server=on");
    const TestClient client = connect(*server);
    EXPECT_TRUE(run_until([&] { return server->is_open(); }));
    EXPECT_TRUE(
        server->filename().starts_with("tcp:127.0.0.1:" + port + ",server=on <-> 127.0.0.1:"))
        << server->filename();
}

TEST_F(SocketTest, TcpTakesTheFirstFreePortOfARange) {
    const auto first = make(tcp_server());
    const uint16_t taken = port_of(first->filename());
    SocketChardevOptions options = tcp_server(taken);
    options.inet->last_port = static_cast<uint16_t>(taken + 20);
    const auto second = make(options);
    ASSERT_NE(second, nullptr);
    EXPECT_GT(port_of(second->filename()), taken);
}

TEST_F(SocketTest, TcpPortInUseIsNamed) {
    const auto first = make(tcp_server());
    const uint16_t taken = port_of(first->filename());
    const auto second =
        create_chardev({.id = "d", .origin = "-qmp tcp", .kind = tcp_server(taken)}, loop_);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().message(), "-qmp tcp: cannot listen at '127.0.0.1:" +
                                            std::to_string(taken) + "': Address already in use");
}

TEST_F(SocketTest, UnknownHostIsNamed) {
    SocketChardevOptions options = tcp_client(1);
    options.inet->host = "300.300.300.300.invalid";
    const auto chardev = create_chardev({.id = "d", .origin = "-qmp tcp", .kind = options}, loop_);
    ASSERT_FALSE(chardev);
    EXPECT_TRUE(chardev.error().message().starts_with(
        "-qmp tcp: the host '300.300.300.300.invalid' is not found"))
        << chardev.error().message();
}

// -- reconnecting clients -------------------------------------------------------------------------

TEST_F(SocketTest, AReconnectingClientWaitsForItsServer) {
    SocketChardevOptions options{.path = path("later")};
    options.reconnect = std::chrono::milliseconds(5);
    const auto client = make(options);
    ASSERT_NE(client, nullptr);
    run_for(std::chrono::milliseconds(20));
    EXPECT_FALSE(client->is_open());
    RecordingFrontend other;
    const auto server =
        create_chardev({.id = "s",
                        .origin = "s",
                        .kind = SocketChardevOptions{.path = path("later"), .server = true}},
                       loop_);
    ASSERT_TRUE(server);
    (*server)->connect(&other);
    EXPECT_TRUE(run_until([&] { return client->is_open() && other.opened == 1; }));
    EXPECT_EQ(client->write(as_bytes("hello")), 5u);
    EXPECT_TRUE(run_until([&] { return other.input == "hello"; }));
}

TEST_F(SocketTest, AReconnectingClientComesBackAfterItsServerWent) {
    const auto make_listener = [&] {
        auto server =
            create_chardev({.id = "s",
                            .origin = "s",
                            .kind = SocketChardevOptions{.path = path("s"), .server = true}},
                           loop_);
        EXPECT_TRUE(server);
        return *std::move(server);
    };
    auto server = make_listener();
    SocketChardevOptions options{.path = path("s")};
    options.reconnect = std::chrono::milliseconds(5);
    const auto client = make(options);
    EXPECT_TRUE(run_until([&] { return client->is_open() && server->is_open(); }));
    server.reset();
    EXPECT_TRUE(run_until([&] { return frontend_.closed == 1; }));
    server = make_listener();
    EXPECT_TRUE(run_until([&] { return frontend_.opened == 2; }));
}

TEST_F(SocketTest, ClosingAReconnectingClientStopsItsAttempts) {
    SocketChardevOptions options{.path = path("never")};
    options.reconnect = std::chrono::milliseconds(1);
    auto client = make(options);
    run_for(std::chrono::milliseconds(5));
    client.reset();
    run_for(std::chrono::milliseconds(5));
}

// -- descriptors ----------------------------------------------------------------------------------

class DescriptorTest : public SocketTest {
protected:
    void SetUp() override {
        server_ = make(SocketChardevOptions{.path = path("s"), .server = true});
        client_.emplace(path("s"));
    }
    /// Sends `text` with two descriptors: a pipe's writing end and this directory.
    void send_descriptors(std::string_view text) {
        int ends[2];
        ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
        reader_.reset(ends[0]);
        const UniqueFd writer(ends[1]);
        const UniqueFd directory(::open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        const int sent[2] = {writer.get(), directory.get()};
        iovec piece{.iov_base = const_cast<char*>(text.data()), .iov_len = text.size()};
        alignas(cmsghdr) char control[CMSG_SPACE(sizeof(sent))]{};
        msghdr message{};
        message.msg_iov = &piece;
        message.msg_iovlen = 1;
        message.msg_control = control;
        message.msg_controllen = sizeof(control);
        cmsghdr* header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(sent));
        std::memcpy(CMSG_DATA(header), sent, sizeof(sent));
        ASSERT_EQ(sendmsg(client_->fd(), &message, 0), static_cast<ssize_t>(text.size()));
    }
    /// Whether nobody holds the pipe's writing end.
    bool pipe_is_closed() {
        char byte = 0;
        fcntl(reader_.get(), F_SETFL, O_NONBLOCK);
        return read(reader_.get(), &byte, 1) == 0;
    }

    std::unique_ptr<Chardev> server_;
    std::optional<TestClient> client_;
    UniqueFd reader_;
};

TEST_F(DescriptorTest, TheFirstOfAMessageArrivesAndClosesOnExec) {
    send_descriptors("two");
    ASSERT_TRUE(run_until([&] { return frontend_.input == "two"; }));
    const UniqueFd first = server_->take_descriptor();
    ASSERT_TRUE(first);
    EXPECT_FALSE(server_->take_descriptor()) << "as in QEMU, the others are closed";
    EXPECT_EQ(fcntl(first.get(), F_GETFD), FD_CLOEXEC);
    EXPECT_EQ(::write(first.get(), "x", 1), 1);
    char byte = 0;
    EXPECT_EQ(read(reader_.get(), &byte, 1), 1);
}

TEST_F(DescriptorTest, ThoseNobodyTookAreClosedByTheNextOnes) {
    send_descriptors("a");
    ASSERT_TRUE(run_until([&] { return frontend_.input == "a"; }));
    UniqueFd first_reader = std::move(reader_);
    send_descriptors("b");
    ASSERT_TRUE(run_until([&] { return frontend_.input == "ab"; }));
    std::swap(first_reader, reader_);
    EXPECT_TRUE(pipe_is_closed());
}

TEST_F(DescriptorTest, AreClosedWhenThePeerGoes) {
    send_descriptors("a");
    ASSERT_TRUE(run_until([&] { return frontend_.input == "a"; }));
    EXPECT_FALSE(pipe_is_closed());
    client_->close();
    ASSERT_TRUE(run_until([&] { return frontend_.closed == 1; }));
    EXPECT_TRUE(pipe_is_closed());
}

// -- WebSocket ------------------------------------------------------------------------------------

class WebSocketTest : public SocketTest {
protected:
    void SetUp() override {
        SocketChardevOptions options{.path = path("ws"), .server = true};
        options.websocket = true;
        server_ = make(options);
        client_.emplace(path("ws"));
    }
    void send_handshake(const std::string& more = "Sec-WebSocket-Protocol: binary\r\n") {
        client_->send(
            "GET / HTTP/1.1\r\nHost: 127.0.0.1:4444\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            "Sec-WebSocket-Version: 13\r\n" +
            more + "\r\n");
    }
    void shake_hands() {
        send_handshake();
        ASSERT_TRUE(run_until([&] { return client_->has_received("\r\n\r\n"); }));
        ASSERT_TRUE(run_until([&] { return server_->is_open(); }));
        response_ = std::exchange(client_->received, {});
    }
    /// A masked frame of less than 126 bytes (RFC 6455 section 5.2), FIN set.
    static std::string frame(uint8_t opcode, std::string_view payload) {
        const char mask[4] = {0x11, 0x22, 0x33, 0x44};
        std::string bytes{static_cast<char>(0x80 | opcode),
                          static_cast<char>(0x80 | payload.size())};
        bytes.append(mask, sizeof(mask));
        for (size_t index = 0; index < payload.size(); ++index) {
            bytes += static_cast<char>(payload[index] ^ mask[index % 4]);
        }
        return bytes;
    }
    static constexpr uint8_t kText = 1;
    static constexpr uint8_t kBinary = 2;
    static constexpr uint8_t kClose = 8;
    static constexpr uint8_t kPing = 9;
    static constexpr uint8_t kPong = 10;

    std::unique_ptr<Chardev> server_;
    std::optional<TestClient> client_;
    std::string response_;
};

TEST_F(WebSocketTest, AnswersTheHandshakeOfTheStandard) {
    shake_hands();
    EXPECT_TRUE(response_.starts_with("HTTP/1.1 101 ")) << response_;
    // RFC 6455 section 1.3 gives this key and its answer.
    EXPECT_NE(response_.find("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), std::string::npos) << response_;
    EXPECT_NE(response_.find("Sec-WebSocket-Protocol: binary"), std::string::npos) << response_;
}

TEST_F(WebSocketTest, CarriesBytesBothWays) {
    shake_hands();
    client_->send(frame(kBinary, "ab") + frame(kText, "cd"));
    EXPECT_TRUE(run_until([&] { return frontend_.input == "abcd"; }));
    EXPECT_EQ(server_->write(as_bytes("answer")), 6u);
    EXPECT_TRUE(run_until([&] {
        return client_->has_received(
            "\x82\x06"
            "answer");
    }));
}

TEST_F(WebSocketTest, ClientsWithoutTheSubprotocolGetText) {
    send_handshake("");
    ASSERT_TRUE(run_until([&] { return server_->is_open(); }));
    EXPECT_EQ(server_->write(as_bytes("answer")), 6u);
    EXPECT_TRUE(run_until([&] {
        return client_->has_received(
            "\x81\x06"
            "answer");
    }));
    EXPECT_EQ(client_->received.find("Sec-WebSocket-Protocol"), std::string::npos);
}

TEST_F(WebSocketTest, AnswersPings) {
    shake_hands();
    client_->send(frame(kPing, "p"));
    EXPECT_TRUE(run_until([&] { return client_->has_received("\x8a\x01p"); }));
}

TEST_F(WebSocketTest, IsDrainedWhenTheClientsKernelHasEverything) {
    shake_hands();
    EXPECT_TRUE(server_->drained());
    EXPECT_EQ(server_->write_now(as_bytes("last words")), 10u);
    EXPECT_FALSE(server_->drained());
    EXPECT_TRUE(run_until([&] { return server_->drained(); }));
    EXPECT_TRUE(client_->has_received("last words"));
}

TEST_F(WebSocketTest, TheEndOfOneClientLetsTheNextOneIn) {
    shake_hands();
    client_->send(frame(kClose, ""));
    EXPECT_TRUE(run_until([&] { return frontend_.closed == 1; }));
    client_.emplace(path("ws"));
    shake_hands();
    EXPECT_EQ(frontend_.opened, 2);
}

TEST_F(WebSocketTest, ABrokenFrameEndsTheConnection) {
    shake_hands();
    client_->send("\x8f\x8f nonsense, unmasked and of an unknown kind");
    EXPECT_TRUE(run_until([&] { return frontend_.closed == 1; }));
}

TEST_F(WebSocketTest, ARequestThatIsNoUpgradeIsToldWhatThisIs) {
    client_->send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    EXPECT_TRUE(run_until([&] { return client_->has_received("This is a WebSocket server"); }));
    EXPECT_TRUE(client_->received.starts_with("HTTP/1.1 426 ")) << client_->received;
    client_.emplace(path("ws"));
    shake_hands();
    EXPECT_EQ(frontend_.opened, 1);
}

TEST_F(WebSocketTest, GarbageInsteadOfAHandshakeLetsTheNextOneIn) {
    client_->send(std::string("\x16\x03\x01 no HTTP at all\r\n\r\n"));
    client_.emplace(path("ws"));
    shake_hands();
    EXPECT_EQ(frontend_.opened, 1);
}

TEST_F(WebSocketTest, PagesOfOtherHostsAreRefused) {
    send_handshake("Origin: https://evil.example\r\n");
    EXPECT_TRUE(run_until([&] { return client_->has_received("HTTP/1.1 403 "); }));
    EXPECT_FALSE(server_->is_open());
}

TEST(WebSocketOrigin, IsLoopbackOrTheAddressConnectedTo) {
    EXPECT_TRUE(websocket_origin_allowed("http://localhost", "localhost:4444"));
    EXPECT_TRUE(websocket_origin_allowed("http://localhost:8080", "127.0.0.1:4444"));
    EXPECT_TRUE(websocket_origin_allowed("https://[::1]:8080", "x"));
    EXPECT_TRUE(websocket_origin_allowed("http://10.0.0.7:8080", "10.0.0.7:4444"));
    EXPECT_TRUE(websocket_origin_allowed("http://[fd00::7]", "[fd00::7]:4444"));
    EXPECT_FALSE(websocket_origin_allowed("http://10.0.0.8", "10.0.0.7:4444"));
    EXPECT_FALSE(websocket_origin_allowed("http://evil.example:4444", "evil.example:4444"));
    EXPECT_FALSE(websocket_origin_allowed("http://127.evil.example", "127.evil.example"));
    EXPECT_FALSE(websocket_origin_allowed("null", "localhost:4444"));
    EXPECT_FALSE(websocket_origin_allowed("", ""));
    EXPECT_FALSE(websocket_origin_allowed("http://", ""));
}

// -- ring buffer ----------------------------------------------------------------------------------

class RingbufTest : public SocketTest {
protected:
    std::unique_ptr<Chardev> chardev_ = make(RingbufChardevOptions{.size = 8});
    RingbufChardev& ring() { return static_cast<RingbufChardev&>(*chardev_); }
};

TEST_F(RingbufTest, GivesWhatWasWrittenOnce) {
    EXPECT_EQ(chardev_->write(as_bytes("abc")), 3u);
    EXPECT_EQ(ring().read(2), "ab");
    EXPECT_EQ(ring().read(100), "c");
    EXPECT_EQ(ring().read(100), "");
}

TEST_F(RingbufTest, KeepsTheLastBytes) {
    EXPECT_EQ(chardev_->write(as_bytes("0123456789")), 10u);
    EXPECT_EQ(ring().read(100), "23456789");
    EXPECT_EQ(chardev_->write(as_bytes("ab")), 2u);
    EXPECT_EQ(ring().read(100), "ab");
}

}  // namespace
}  // namespace halcyon
