/// What a machine is made of; filled in by the command line.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "accel/accelerator.h"
#include "base/types.h"
#include "devices/char_backend.h"

namespace halcyon {

enum class BoardKind {
    kPc,    ///< a PC around the i440FX host bridge ("pc")
    kNone,  ///< no CPUs, no memory, no devices: QMP only ("none")
};

/// The character backends are owned by daemon/ and outlive the machine.
struct MachineConfig {
    BoardKind board = BoardKind::kPc;
    /// Tried in order; the first whose probe succeeds runs the guest (-accel kvm:soft).
    std::vector<const Accelerator*> accelerators;
    std::string cpu_model = "host";
    uint32_t vcpu_count = 1;
    uint64_t ram_size = 128_MiB;
    /// The firmware file (-bios).
    std::string firmware_path;
    std::string name;
    /// The 16 bytes of -uuid, for fw_cfg; nothing without the option.
    std::optional<std::array<uint8_t, 16>> uuid;
    /// -serial, in order (COM1...); null entries are ports left out.
    std::vector<CharBackend*> serial_ports;
    /// -debugcon; null without.
    CharBackend* debug_console = nullptr;
    /// -nographic: the firmware uses the first serial port as its display.
    bool no_graphics = false;
    /// -boot menu=on: the firmware offers its boot menu, for this long (its own default without).
    bool boot_menu = false;
    std::optional<std::chrono::milliseconds> boot_menu_wait;
    /// -S
    bool start_paused = false;
    /// --preconfig
    bool preconfig = false;
    /// -no-reboot: a guest's reset ends the machine.
    bool no_reboot = false;
    /// -no-shutdown: a guest's power-off pauses the machine.
    bool no_shutdown = false;
    /// How long a vCPU may take to leave the hypervisor before the reply says it did not.
    std::chrono::milliseconds quit_timeout{5000};
    /// Called by each vCPU's thread, on it, before it does anything of the guest's; null for
    /// nothing. Outlives the machine.
    std::function<void()> on_vcpu_thread_start;
};

/// The most vCPUs that `-smp` takes: what xAPIC ids and one-byte MSI destinations address (FFh is
/// broadcast).
inline constexpr uint32_t kMaxVcpus = 255;

}  // namespace halcyon
