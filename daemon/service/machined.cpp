#include "daemon/service/machined.h"

#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <utility>

#include "daemon/service/libsystemd.h"

namespace halcyon {
namespace {

constexpr const char* kDestination = "org.freedesktop.machine1";
constexpr const char* kPath = "/org/freedesktop/machine1";
constexpr const char* kInterface = "org.freedesktop.machine1.Manager";

using Bus = std::unique_ptr<sd_bus, decltype(Libsystemd::bus_unref)>;
using Message = std::unique_ptr<sd_bus_message, decltype(Libsystemd::bus_message_unref)>;

/// sd-bus returns negative errno values.
Result<void> check(int result) {
    return result < 0 ? Result<void>(Error::from_errno("the system bus", -result)) : Result<void>();
}

/// A bus that has let us in. The timeout of calls does not hold for that.
Result<Bus> open_system_bus(const Libsystemd& library, std::chrono::seconds limit) {
    using Clock = std::chrono::steady_clock;
    sd_bus* opened = nullptr;
    TRY(check(library.bus_open_system(&opened)));
    Bus bus(opened, library.bus_unref);
    const auto deadline = Clock::now() + limit;
    while (library.bus_is_ready(bus.get()) == 0) {
        const int done = library.bus_process(bus.get(), nullptr);
        TRY(check(done));
        const auto left =
            std::chrono::duration_cast<std::chrono::microseconds>(deadline - Clock::now());
        if (left.count() <= 0) {
            return Error("the system bus does not answer");
        }
        if (done == 0) {
            TRY(check(library.bus_wait(bus.get(), static_cast<uint64_t>(left.count()))));
        }
    }
    return bus;
}

Result<Message> make_call(const Libsystemd& library, sd_bus* bus, const char* method) {
    sd_bus_message* call = nullptr;
    TRY(check(
        library.bus_message_new_method_call(bus, &call, kDestination, kPath, kInterface, method)));
    return Message(call, library.bus_message_unref);
}

/// RegisterMachine(s name, ay id, s service, s class, u leader, s root_directory)
Result<Message> make_registration(const Libsystemd& library, sd_bus* bus,
                                  const MachineConfig& config) {
    Message call = TRY(make_call(library, bus, "RegisterMachine"));
    TRY(check(library.bus_message_append(call.get(), "s", config.name.c_str())));
    TRY(check(library.bus_message_append_array(call.get(), 'y',
                                               config.uuid ? config.uuid->data() : nullptr,
                                               config.uuid ? config.uuid->size() : 0)));
    TRY(check(library.bus_message_append(call.get(), "ssus", "halcyon", "vm",
                                         static_cast<uint32_t>(getpid()), "")));
    return call;
}

Result<void> finish_call(const Libsystemd& library, sd_bus* bus, sd_bus_message* call) {
    sd_bus_error error = SD_BUS_ERROR_NULL;
    const int result = library.bus_call(bus, call, 0, &error, nullptr);
    if (result >= 0) {
        return {};
    }
    Error failure = library.bus_error_is_set(&error) != 0
                        ? Error(std::string("systemd-machined: ") + error.message)
                        : Error::from_errno("the system bus", -result);
    library.bus_error_free(&error);
    return failure;
}

}  // namespace

Result<std::unique_ptr<MachineRegistration>> MachineRegistration::create(
    const MachineConfig& config) {
    if (config.name.empty()) {
        return Error("a machine that is registered needs -name", ErrorCode::kInvalidArgument);
    }
    const Libsystemd* library = Libsystemd::get();
    if (library == nullptr) {
        return Error("libsystemd is not installed", ErrorCode::kUnsupported);
    }
    Bus bus = TRY(open_system_bus(*library, kAnswerTime));
    TRY(check(library->bus_set_method_call_timeout(
        bus.get(), std::chrono::microseconds(kAnswerTime).count())));
    const Message call = TRY(make_registration(*library, bus.get(), config));
    TRY(finish_call(*library, bus.get(), call.get()));
    return std::unique_ptr<MachineRegistration>(
        new MachineRegistration(bus.release(), config.name));
}

MachineRegistration::~MachineRegistration() {
    const Libsystemd& library = *Libsystemd::get();
    const Bus bus(bus_, library.bus_unref);
    const Result<Message> call = make_call(library, bus.get(), "UnregisterMachine");
    if (call && library.bus_message_append(call->get(), "s", name_.c_str()) >= 0 &&
        library.bus_message_set_expect_reply(call->get(), 0) >= 0) {
        // Without success machined notices the end of the leader itself.
        static_cast<void>(library.bus_send(bus.get(), call->get(), nullptr));
    }
    library.bus_close(bus.get());
}

}  // namespace halcyon
