#include "daemon/service/machined.h"

#include <unistd.h>

#include <cstdint>
#include <utility>

#include <systemd/sd-bus.h>

namespace halcyon {
namespace {

constexpr const char* kDestination = "org.freedesktop.machine1";
constexpr const char* kPath = "/org/freedesktop/machine1";
constexpr const char* kInterface = "org.freedesktop.machine1.Manager";

struct Unref {
    void operator()(sd_bus* bus) const { sd_bus_unref(bus); }
    void operator()(sd_bus_message* message) const { sd_bus_message_unref(message); }
};
using Bus = std::unique_ptr<sd_bus, Unref>;
using Message = std::unique_ptr<sd_bus_message, Unref>;

/// sd-bus returns negative errno values.
Result<void> check(int result) {
    return result < 0 ? Result<void>(Error::from_errno("the system bus", -result)) : Result<void>();
}

Result<Bus> open_system_bus() {
    sd_bus* bus = nullptr;
    TRY(check(sd_bus_open_system(&bus)));
    return Bus(bus);
}

Result<Message> make_call(sd_bus* bus, const char* method) {
    sd_bus_message* call = nullptr;
    TRY(check(sd_bus_message_new_method_call(bus, &call, kDestination, kPath, kInterface, method)));
    return Message(call);
}

/// RegisterMachine(s name, ay id, s service, s class, u leader, s root_directory)
Result<Message> make_registration(sd_bus* bus, const MachineConfig& config) {
    Message call = TRY(make_call(bus, "RegisterMachine"));
    TRY(check(sd_bus_message_append(call.get(), "s", config.name.c_str())));
    TRY(check(sd_bus_message_append_array(call.get(), 'y',
                                          config.uuid ? config.uuid->data() : nullptr,
                                          config.uuid ? config.uuid->size() : 0)));
    TRY(check(sd_bus_message_append(call.get(), "ssus", "halcyon", "vm",
                                    static_cast<uint32_t>(getpid()), "")));
    return call;
}

}  // namespace

Result<std::unique_ptr<MachineRegistration>> MachineRegistration::create(
    const MachineConfig& config) {
    constexpr uint64_t kMicrosecondsPerSecond = 1'000'000;
    if (config.name.empty()) {
        return Error("a machine that is registered needs -name", ErrorCode::kInvalidArgument);
    }
    Bus bus = TRY(open_system_bus());
    TRY(check(sd_bus_set_method_call_timeout(bus.get(), kAnswerSeconds * kMicrosecondsPerSecond)));
    const Message call = TRY(make_registration(bus.get(), config));
    sd_bus_error error = SD_BUS_ERROR_NULL;
    const int result = sd_bus_call(bus.get(), call.get(), 0, &error, nullptr);
    if (result < 0) {
        Error failure = sd_bus_error_is_set(&error)
                            ? Error(std::string("systemd-machined: ") + error.message)
                            : Error::from_errno("the system bus", -result);
        sd_bus_error_free(&error);
        return failure;
    }
    return std::unique_ptr<MachineRegistration>(
        new MachineRegistration(bus.release(), config.name));
}

MachineRegistration::~MachineRegistration() {
    const Bus bus(bus_);
    const Result<Message> call = make_call(bus.get(), "UnregisterMachine");
    if (call && sd_bus_message_append(call->get(), "s", name_.c_str()) >= 0 &&
        sd_bus_message_set_expect_reply(call->get(), 0) >= 0) {
        // Without success machined notices the end of the leader itself.
        static_cast<void>(sd_bus_send(bus.get(), call->get(), nullptr));
    }
    sd_bus_close(bus.get());
}

}  // namespace halcyon
