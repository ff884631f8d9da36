/// PcBoard: a PC around the i440FX host bridge, as firmware and guests know it from QEMU's "pc"
/// machine, without display, disks and network.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "accel/partition.h"
#include "base/guest_memory.h"
#include "devices/acpi_pm.h"
#include "devices/cmos_rtc.h"
#include "devices/debugcon.h"
#include "devices/fw_cfg.h"
#include "devices/i8042.h"
#include "devices/i8254.h"
#include "devices/i8259.h"
#include "devices/ioapic.h"
#include "devices/pci_bus.h"
#include "devices/pci_host_bridge.h"
#include "devices/piix_isa_bridge.h"
#include "devices/piix_pm.h"
#include "devices/post_code.h"
#include "devices/serial_16550.h"
#include "devices/system_control_port.h"
#include "machine/board.h"
#include "machine/io_bus.h"
#include "machine/isa_irq.h"
#include "machine/machine_config.h"
#include "machine/pc_firmware_tables.h"
#include "machine/pc_memory.h"
#include "machine/power_gate.h"

namespace halcyon {

/// Owns the devices and the buses; the address of each is in the tables of pc_board.cpp. GuestIo
/// from vCPU threads, the rest on the main thread.
class PcBoard final : public Board, private GuestIo {
public:
    /// Loads the firmware, allocates RAM in `memory`, maps both into `partition`, and wires the
    /// devices. `rtc_set` is told when the guest sets its clock. The references outlive the board.
    /// Fails with the option that is at fault, or the hypervisor's reason.
    static Result<std::unique_ptr<PcBoard>> create(const MachineConfig& config,
                                                   Partition& partition, GuestMemory& memory,
                                                   GuestClock& clock, PowerGate& gate,
                                                   CmosRtc::TimeSet rtc_set = {});

    [[nodiscard]] GuestIo& io() override { return *this; }
    Result<void> reset() override;
    void press_power_button() override { acpi_pm_.press_power_button(); }
    [[nodiscard]] MemoryView memory() const override { return pc_memory_->view(); }
    [[nodiscard]] const PciBus* pci_bus() const override { return &pci_; }
    [[nodiscard]] std::vector<DeviceDescription> devices() override;
    [[nodiscard]] std::vector<AddressBlock> memory_map() override;
    [[nodiscard]] std::vector<AddressBlock> port_map() override { return ports_.blocks(); }

private:
    PcBoard(const MachineConfig& config, Partition& partition, GuestMemory& memory,
            GuestClock& clock, PowerGate& gate, CmosRtc::TimeSet rtc_set,
            std::unique_ptr<PcMemory> pc_memory);
    Result<void> claim_ports();
    Result<void> attach_pci();
    Result<void> add_serial_ports(GuestClock& clock);
    [[nodiscard]] std::string_view pci_model(const PciFunction& function) const;
    [[nodiscard]] RamLayout ram() const { return {pc_memory_->low_ram(), pc_memory_->high_ram()}; }

    void pio_read(PioPort port, std::span<std::byte> data) override {
        ports_.read(port.value(), data);
    }
    void pio_write(PioPort port, std::span<const std::byte> data) override {
        ports_.write(port.value(), data);
    }
    void mmio_read(Gpa address, std::span<std::byte> data) override {
        mmio_.read(address.value(), data);
    }
    void mmio_write(Gpa address, std::span<const std::byte> data) override {
        mmio_.write(address.value(), data);
    }
    std::optional<uint8_t> acknowledge_extint() override { return pic_.try_acknowledge(); }
    void end_of_interrupt(uint8_t vector) override { ioapic_.end_of_interrupt(vector); }

    void on_pam_changed(unsigned segment, PamMode mode);
    void on_smram_changed(SmramMode mode);
    void on_pm_io_changed(uint16_t base, bool enabled);
    void set_routes(std::span<const IoapicRoute> routes);

    const MachineConfig& config_;
    Partition& partition_;

    // Members are in the order in which devices refer to each other: controllers first.
    std::unique_ptr<PcMemory> pc_memory_;
    IoBus ports_{"port"};
    IoBus mmio_{"address"};
    I8259Pair pic_;
    Ioapic ioapic_;
    std::deque<IsaIrq> irqs_;
    uint16_t pm_base_ = 0;  ///< where the ACPI block is claimed; 0 when it is not

    I8254 pit_;
    CmosRtc cmos_;
    I8042 i8042_;
    SystemControlPortA control_port_;
    AcpiPm acpi_pm_;
    PostCode post_code_;
    FwCfg fw_cfg_;
    Piix3IsaBridge isa_bridge_;
    PciBus pci_;
    I440fxHostBridge host_bridge_;
    Piix4Pm pm_function_;
    std::vector<std::unique_ptr<Serial16550A>> serial_;
    std::unique_ptr<Debugcon> debugcon_;
};

}  // namespace halcyon
