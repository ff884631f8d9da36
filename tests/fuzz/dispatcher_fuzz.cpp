// The generated decoding of arguments and the dispatcher, over the tests' schema: each request of
// a stream is answered once, with its id.

#include <cstdint>
#include <string>
#include <string_view>

#include "tests/fuzz/check.h"
#include "tests/protocol/test_commands.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace halcyon;
    if (size < 2) {
        return 0;
    }
    // The input chooses a command and gives its arguments, so that every try reaches the decoder.
    Server server;
    server.context.hook = [](Session&) {};
    Client client(server.dispatcher);
    client.negotiate((data[0] & 1) != 0);
    const auto table = qmp::command_table();
    const std::string name(table[data[1] % table.size()].name);
    const std::string text(reinterpret_cast<const char*>(data + 2), size - 2);
    client.session->receive(R"({"execute":")" + name + R"(","id":1,"arguments":)" + text + "}");
    // A request that the input left open is ended here; what follows is answered too.
    client.session->receive("\xff\n{\"execute\":\"query-name\",\"id\":\"last\"}\n");
    while (!server.context.held.empty()) {
        Reply<void> reply = std::move(server.context.held.front());
        server.context.held.pop_front();
        reply(Result<void>());
    }
    Json last;
    for (Json& message : client.take()) {
        if (message.contains("event")) {
            continue;
        }
        fuzz::check(message.contains("return") != message.contains("error"), "one of the two");
        last = std::move(message);
    }
    fuzz::check(server.dispatcher.refuses_new_commands() || last.value("id", Json()) == "last",
                "the last request is answered, after all others");
    return 0;
}
