#include "daemon/service/libsystemd.h"

#include <dlfcn.h>

#include <cstdio>
#include <optional>

namespace halcyon {
namespace {

/// Looks symbols up; once one is missing, all are null.
class Loader {
public:
    explicit Loader(const char* library)
        : library_(::dlopen(library, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE)) {}

    template <typename Function>
    void find(Function*& function, const char* name) {
        function = reinterpret_cast<Function*>(good() ? ::dlsym(library_, name) : nullptr);
        if (function == nullptr) {
            library_ = nullptr;
        }
    }

    [[nodiscard]] bool good() const { return library_ != nullptr; }

private:
    void* library_;
};

std::optional<Libsystemd> load() {
    Loader loader("libsystemd.so.0");
    Libsystemd found{};
    loader.find(found.notify, "sd_notify");
    loader.find(found.listen_fds_with_names, "sd_listen_fds_with_names");
    loader.find(found.watchdog_enabled, "sd_watchdog_enabled");
    loader.find(found.journal_sendv, "sd_journal_sendv");
    loader.find(found.bus_open_system, "sd_bus_open_system");
    loader.find(found.bus_set_method_call_timeout, "sd_bus_set_method_call_timeout");
    loader.find(found.bus_is_ready, "sd_bus_is_ready");
    loader.find(found.bus_process, "sd_bus_process");
    loader.find(found.bus_wait, "sd_bus_wait");
    loader.find(found.bus_call, "sd_bus_call");
    loader.find(found.bus_send, "sd_bus_send");
    loader.find(found.bus_close, "sd_bus_close");
    loader.find(found.bus_unref, "sd_bus_unref");
    loader.find(found.bus_error_is_set, "sd_bus_error_is_set");
    loader.find(found.bus_error_free, "sd_bus_error_free");
    loader.find(found.bus_message_new_method_call, "sd_bus_message_new_method_call");
    loader.find(found.bus_message_append, "sd_bus_message_append");
    loader.find(found.bus_message_append_array, "sd_bus_message_append_array");
    loader.find(found.bus_message_set_expect_reply, "sd_bus_message_set_expect_reply");
    loader.find(found.bus_message_unref, "sd_bus_message_unref");
    if (loader.good()) {
        return found;
    }
    const char* reason = ::dlerror();
    std::fprintf(stderr, "halcyond: warning: systemd is not used: %s\n",
                 reason == nullptr ? "libsystemd.so.0 cannot be loaded" : reason);
    return std::nullopt;
}

}  // namespace

const Libsystemd* Libsystemd::get() {
    static const std::optional<Libsystemd> library = load();
    return library ? &*library : nullptr;
}

}  // namespace halcyon
