// A whole monitor: the real command table over a machine without CPUs. Whatever a client sends,
// the daemon goes on and the next request is answered.

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/command_context.h"
#include "daemon/monitor/monitor.h"
#include "qmp_commands.h"
#include "tests/fuzz/check.h"

namespace halcyon {
namespace {

class NoObserver final : public MachineObserver {
    void on_stopped() override {}
    void on_resumed() override {}
    void on_reset(ShutdownCause) override {}
    void on_powerdown() override {}
    void on_shutdown(ShutdownCause) override {}
    void on_ended() override {}
};

/// A client without a transport: gives input, keeps output.
class MemoryChardev final : public Chardev {
public:
    explicit MemoryChardev(MainLoop& loop) : Chardev("fuzz", loop) {}
    [[nodiscard]] std::string filename() const override { return "memory"; }
    void open() { open_sink(); }
    void close() { close_stream(); }
    [[nodiscard]] size_t write(std::span<const std::byte> data) override {
        output.append(reinterpret_cast<const char*>(data.data()), data.size());
        return data.size();
    }
    std::string output;
};

/// Commands that reach outside of the process: files, sockets, descriptors, the process's end.
bool reaches_outside(std::string_view name) {
    constexpr std::array<std::string_view, 12> kOutside = {
        "add-fd",  "add_client",        "chardev-add", "chardev-change",
        "closefd", "dump-guest-memory", "getfd",       "human-monitor-command",
        "memsave", "object-add",        "pmemsave",    "trace-event-set-state"};
    return std::ranges::find(kOutside, name) != kOutside.end();
}

struct Fuzzed {
    Fuzzed() {
        for (const CommandEntry& entry : qmp::command_table()) {
            if (!reaches_outside(entry.name)) {
                table.push_back(entry);
            }
        }
        MachineConfig config;
        config.board = BoardKind::kNone;
        machine = *Machine::create(std::move(config), loop, observer);
        context = std::make_unique<CommandContext>(
            *machine, accelerators(), chardevs, sets, objects,
            [this](const Session&) -> Monitor& { return *monitor; },
            [](ShutdownCause, const Machine::Done& done) { done({}); });
        dispatcher = std::make_unique<Dispatcher>(table, *context);
        chardev = std::make_unique<MemoryChardev>(loop);
        monitor = std::make_unique<Monitor>(*chardev, *dispatcher,
                                            SessionConfig{.version = {}, .package = "fuzz"}, loop);
        monitor->start();
    }
    void run() {
        loop.post([this] { loop.stop(); });
        loop.run();
    }
    void give(std::string_view bytes) {
        while (!bytes.empty()) {
            const std::string_view piece = bytes.substr(0, monitor->can_receive());
            if (!piece.empty()) {
                monitor->receive(std::as_bytes(std::span(piece)));
                bytes.remove_prefix(piece.size());
            }
            run();
        }
    }

    MainLoop loop;
    NoObserver observer;
    std::unique_ptr<Machine> machine;
    ChardevRegistry chardevs{loop};
    DescriptorSets sets;
    qom::UserObjects objects;
    std::vector<CommandEntry> table;
    std::unique_ptr<CommandContext> context;
    std::unique_ptr<Dispatcher> dispatcher;
    std::unique_ptr<MemoryChardev> chardev;
    std::unique_ptr<Monitor> monitor;
};

}  // namespace
}  // namespace halcyon

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace halcyon;
    static Fuzzed fuzzed;
    fuzzed.chardev->output.clear();
    fuzzed.chardev->open();
    // Both kinds of sessions, without a byte of the input for it.
    fuzzed.give(size % 2 == 0 ? R"({"execute":"qmp_capabilities"})"
                              : R"({"execute":"qmp_capabilities","arguments":{"enable":["oob"]}})");
    fuzzed.give({reinterpret_cast<const char*>(data), size});
    fuzzed.give("\xff\n{\"execute\":\"query-version\",\"id\":\"last one\"}\n");
    fuzzed.run();
    fuzz::check(fuzzed.chardev->output.find("\"id\": \"last one\"") != std::string::npos,
                "the last request is answered");
    fuzzed.chardev->close();
    return 0;
}
