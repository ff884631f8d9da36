// A double of systemd-machined on the bus of DBUS_SYSTEM_BUS_ADDRESS: says "ready" once it has its
// name, then prints each call, its arguments behind it.
//
//     machined_double accept|refuse|silent
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>

#include <systemd/sd-bus.h>

namespace {

constexpr const char* kName = "org.freedesktop.machine1";

/// What becomes of a registration.
std::string mode;

int registered(sd_bus_message* call, void*, sd_bus_error*) {
    const char* name = nullptr;
    const void* id = nullptr;
    size_t id_size = 0;
    const char* service = nullptr;
    const char* machine_class = nullptr;
    uint32_t leader = 0;
    const char* root = nullptr;
    if (sd_bus_message_read(call, "s", &name) < 0 ||
        sd_bus_message_read_array(call, 'y', &id, &id_size) < 0 ||
        sd_bus_message_read(call, "ssus", &service, &machine_class, &leader, &root) < 0) {
        return sd_bus_reply_method_errorf(call, SD_BUS_ERROR_INVALID_ARGS, "not sayssus");
    }
    std::string digits;
    for (size_t index = 0; index < id_size; ++index) {
        char digit[3];
        std::snprintf(digit, sizeof(digit), "%02x", static_cast<const uint8_t*>(id)[index]);
        digits += digit;
    }
    std::printf("RegisterMachine %s '%s' %s %s %u '%s'\n", name, digits.c_str(), service,
                machine_class, leader, root);
    if (mode == "refuse") {
        return sd_bus_reply_method_errorf(call, SD_BUS_ERROR_ACCESS_DENIED, "Access denied");
    }
    return mode == "silent"
               ? 1
               : sd_bus_reply_method_return(call, "o", "/org/freedesktop/machine1/machine/x");
}

int unregistered(sd_bus_message* call, void*, sd_bus_error*) {
    const char* name = nullptr;
    if (sd_bus_message_read(call, "s", &name) < 0) {
        return sd_bus_reply_method_errorf(call, SD_BUS_ERROR_INVALID_ARGS, "not s");
    }
    std::printf("UnregisterMachine %s\n", name);
    if (mode == "refuse") {
        return sd_bus_reply_method_errorf(call, "org.freedesktop.machine1.NoSuchMachine", "None");
    }
    return sd_bus_reply_method_return(call, nullptr);
}

constexpr sd_bus_vtable kMethods[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD("RegisterMachine", "sayssus", "o", registered, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("UnregisterMachine", "s", "", unregistered, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_VTABLE_END,
};

int serve(sd_bus* bus) {
    int result = sd_bus_add_object_vtable(bus, nullptr, "/org/freedesktop/machine1",
                                          "org.freedesktop.machine1.Manager", kMethods, nullptr);
    result = result < 0 ? result : sd_bus_request_name(bus, kName, 0);
    if (result >= 0) {
        std::puts("ready");
    }
    while (result >= 0) {
        result = sd_bus_process(bus, nullptr);
        result = result == 0 ? sd_bus_wait(bus, UINT64_MAX) : result;
    }
    return result;
}

}  // namespace

int main(int argc, char** argv) {
    mode = argc == 2 ? argv[1] : "accept";
    std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);
    sd_bus* bus = nullptr;
    int result = sd_bus_open_system(&bus);
    if (result >= 0) {
        result = serve(bus);
    }
    sd_bus_unref(bus);
    std::fprintf(stderr, "machined_double: %s\n", std::strerror(-result));
    return 1;
}
