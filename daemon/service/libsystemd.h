/// libsystemd's functions, loaded when a service manager, the journal or the bus is really there:
/// with the libraries that it brings it costs a VM a mebibyte, and most VMs of an orchestrator
/// never need it.
#pragma once

#include <systemd/sd-bus.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-journal.h>

namespace halcyon {

/// The functions, under their own names.
struct Libsystemd {
    decltype(&::sd_notify) notify;
    decltype(&::sd_listen_fds_with_names) listen_fds_with_names;
    decltype(&::sd_watchdog_enabled) watchdog_enabled;
    decltype(&::sd_journal_sendv) journal_sendv;
    decltype(&::sd_bus_open_system) bus_open_system;
    decltype(&::sd_bus_set_method_call_timeout) bus_set_method_call_timeout;
    decltype(&::sd_bus_is_ready) bus_is_ready;
    decltype(&::sd_bus_process) bus_process;
    decltype(&::sd_bus_wait) bus_wait;
    decltype(&::sd_bus_call) bus_call;
    decltype(&::sd_bus_send) bus_send;
    decltype(&::sd_bus_close) bus_close;
    decltype(&::sd_bus_unref) bus_unref;
    decltype(&::sd_bus_error_is_set) bus_error_is_set;
    decltype(&::sd_bus_error_free) bus_error_free;
    decltype(&::sd_bus_message_new_method_call) bus_message_new_method_call;
    decltype(&::sd_bus_message_append) bus_message_append;
    decltype(&::sd_bus_message_append_array) bus_message_append_array;
    decltype(&::sd_bus_message_set_expect_reply) bus_message_set_expect_reply;
    decltype(&::sd_bus_message_unref) bus_message_unref;

    /// Loads the library at the first call; null, and told on standard error once, when this host
    /// has none. Any thread, but for the first time before the sandbox, which lets nobody load.
    [[nodiscard]] static const Libsystemd* get();
};

}  // namespace halcyon
