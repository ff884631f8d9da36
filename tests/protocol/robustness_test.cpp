// Random input, from fixed seeds: nothing crashes, splits make no difference, and after a reset
// byte and a new line the next request is always answered.
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "frames.h"
#include "test_commands.h"

namespace halcyon {
namespace {

using Random = std::mt19937;

size_t below(Random& random, size_t limit) {
    return std::uniform_int_distribution<size_t>(0, limit - 1)(random);
}

/// What means something to a JSON reader or to QMP: words, and bytes with a meaning of their own.
std::vector<std::string> meaningful_pieces() {
    std::istringstream words(R"(
        { } [ ] : , " ' \ \u \ud83d \ude00 0 1 - . e E+ 123 1e999 -0.5 18446744073709551616
        true null fals %d "a" 'b' "id": "execute": "exec-oob": "arguments": "kind":"circle"
        "query-name" "test-oob" "test-slow" "test-shape" "test-everything"
        {"execute":"query-name"} {"execute":"test-slow","id":)");
    std::vector<std::string> pieces = {
        " ",    "\n",       "\t",       "\x01",         "\xff",
        "\xfe", "\xc0\x80", "\xc3\xa9", "\xed\xa0\x80", "\xf0\x9f\x98\x80"};
    for (std::string word; words >> word;) {
        pieces.push_back(word);
    }
    return pieces;
}

/// A text of such pieces and of any bytes.
std::string random_text(Random& random) {
    static const std::vector<std::string> pieces = meaningful_pieces();
    std::string text;
    for (size_t count = below(random, 40); count > 0; --count) {
        if (below(random, 8) == 0) {
            text.push_back(static_cast<char>(below(random, 256)));
        } else {
            text += pieces[below(random, pieces.size())];
        }
    }
    return text;
}

TEST(Robustness, AnySplitGivesTheSameFrames) {
    Random random(1);
    for (int round = 0; round < 3000; ++round) {
        const std::string text = random_text(random);
        const std::vector<std::string> whole = frames_of(text);
        EXPECT_EQ(frames_of(text, 1), whole) << text;
        EXPECT_EQ(frames_of(text, 1 + below(random, 9)), whole) << text;
    }
}

/// A random value nested at most `depth` deep.
Json random_value(Random& random, int depth) {
    switch (below(random, depth > 0 ? 8 : 6)) {
        case 0:
            return nullptr;
        case 1:
            return below(random, 2) == 0;
        case 2:
            return static_cast<int64_t>(random()) << below(random, 32);
        case 3:
            return ~uint64_t{0} - random();
        case 4:
            return std::uniform_real_distribution<double>(-1e30, 1e30)(random);
        case 5: {
            std::string text;
            for (size_t i = below(random, 12); i > 0; --i) {
                static const std::vector<std::string> kCharacters = {
                    "a", "\"", "\\", "\n", "é", "€", "😀", std::string(1, '\0'), "\x7f", "'"};
                text += kCharacters[below(random, kCharacters.size())];
            }
            return text;
        }
        case 6: {
            Json array = Json::array();
            for (size_t i = below(random, 5); i > 0; --i) {
                array.push_back(random_value(random, depth - 1));
            }
            return array;
        }
    }
    Json object = Json::object();
    for (size_t i = below(random, 5); i > 0; --i) {
        object["k" + std::to_string(i)] = random_value(random, depth - 1);
    }
    return object;
}

TEST(Robustness, WhatIsWrittenIsReadBack) {
    Random random(2);
    for (int round = 0; round < 2000; ++round) {
        const Json value = Json::array({random_value(random, 5)});
        Framer framer;
        framer.feed(to_wire(value));
        framer.feed(to_wire_pretty(value));
        for (int copy = 0; copy < 2; ++copy) {
            std::optional<Frame> frame = framer.next();
            ASSERT_TRUE(frame.has_value());
            ASSERT_FALSE(frame->is_error()) << frame->error();
            EXPECT_EQ(frame->value(), value);
        }
    }
}

TEST(Robustness, ASessionAlwaysRecovers) {
    Random random(3);
    Server server;
    for (int round = 0; round < 3000; ++round) {
        Client client(server.dispatcher);
        client.negotiate(below(random, 2) == 0);
        const std::string text = random_text(random);
        for (size_t start = 0; start < text.size();) {
            const size_t piece = 1 + below(random, 16);
            client.session->receive(std::string_view(text).substr(start, piece));
            start += piece;
        }
        client.session->receive("\xff\n{\"execute\":\"query-name\",\"id\":\"probe\"}");
        // Give what is held, until nothing more is.
        while (!server.context.held.empty()) {
            Reply<void> reply = std::move(server.context.held.front());
            server.context.held.pop_front();
            reply();
        }
        const std::vector<Json> replies = client.take();
        ASSERT_FALSE(replies.empty()) << text;
        EXPECT_EQ(replies.back(), with_id(success(), "probe")) << text;
        EXPECT_TRUE(client.session->idle());
    }
}

TEST(Robustness, RepliesMayComeAtAnyTime) {
    Random random(4);
    Server server;
    std::vector<std::unique_ptr<Client>> clients(4);
    for (int round = 0; round < 5000; ++round) {
        std::unique_ptr<Client>& client = clients[below(random, clients.size())];
        switch (below(random, 4)) {
            case 0:
                client = std::make_unique<Client>(server.dispatcher);
                client->negotiate(below(random, 2) == 0);
                break;
            case 1:
                if (client) {
                    client->session->receive(
                        R"({"execute":"test-slow"}{"exec-oob":"test-oob-slow"})");
                }
                break;
            case 2:
                if (!server.context.held.empty()) {
                    Reply<void> reply = std::move(server.context.held.front());
                    server.context.held.pop_front();
                    reply();
                }
                break;
            case 3:
                if (client && below(random, 4) == 0) {
                    client->session->close();
                }
                break;
        }
        if (client) {
            client->take();  // every message is valid JSON
        }
    }
    clients.clear();
    server.context.held.clear();
}

}  // namespace
}  // namespace halcyon
