#include "machine/pc_board.h"

#include <string>
#include <utility>

#include "base/log.h"
#include "machine/firmware.h"
#include "machine/pc_firmware_tables.h"
#include "machine/pc_layout.h"

namespace halcyon {

using namespace pc;

PcBoard::PcBoard(const MachineConfig& config, Partition& partition, GuestMemory& memory,
                 GuestClock& clock, PowerGate& gate, CmosRtc::TimeSet rtc_set,
                 std::unique_ptr<PcMemory> pc_memory)
    : config_(config),
      partition_(partition),
      pc_memory_(std::move(pc_memory)),
      pic_([this](bool level) { partition_.set_extint(level); }),
      ioapic_(
          {.deliver =
               [this](uint64_t address, uint32_t data) {
                   if (auto sent = partition_.signal_msi({.address = address, .data = data});
                       !sent) {
                       LOG_GUEST("IOAPIC: an interrupt is lost: {}", sent.error().message());
                   }
               },
           .routes_changed = [this](std::span<const IoapicRoute> routes) { set_routes(routes); }}),
      irqs_([this] {
          std::deque<IsaIrq> irqs;
          for (unsigned irq = 0; irq < kIsaIrqs; ++irq) {
              irqs.emplace_back(pic_, ioapic_, irq);
          }
          return irqs;
      }()),
      pit_(clock, irqs_[kTimerIrq].device()),
      cmos_(clock, irqs_[kRtcIrq].device(), &std::chrono::system_clock::now, std::move(rtc_set)),
      // A20 stays on whatever the guest asks for, as with QEMU on KVM: no backend can mask an
      // address line.
      i8042_(
          irqs_[kKeyboardIrq].device(), irqs_[kMouseIrq].device(),
          {.a20_changed = {}, .reset_requested = [&gate] { gate.request(PowerRequest::kReset); }}),
      control_port_(
          {.a20_changed = {}, .reset_requested = [&gate] { gate.request(PowerRequest::kReset); }}),
      acpi_pm_(clock, irqs_[kSciIrq].device(), [&gate] { gate.request(PowerRequest::kShutdown); }),
      fw_cfg_(memory),
      isa_bridge_(
          {.isa_interrupt = [this](unsigned irq, bool level) { irqs_[irq].pci().set(level); },
           .reset_requested = [&gate](bool) { gate.request(PowerRequest::kReset); }}),
      pci_([this](unsigned line, bool level) { isa_bridge_.set_pirq(line, level); }),
      host_bridge_(
          {.pam_changed = [this](unsigned segment, PamMode mode) { on_pam_changed(segment, mode); },
           .smram_changed = [this](SmramMode mode) { on_smram_changed(mode); }}),
      pm_function_(
          {.serial_a = !config.serial_ports.empty(), .serial_b = config.serial_ports.size() > 1},
          [this](uint16_t base, bool enabled) { on_pm_io_changed(base, enabled); }) {}

Result<std::unique_ptr<PcBoard>> PcBoard::create(const MachineConfig& config, Partition& partition,
                                                 GuestMemory& memory, GuestClock& clock,
                                                 PowerGate& gate, CmosRtc::TimeSet rtc_set) {
    auto firmware = TRY(load_firmware(config.firmware_path));
    auto pc_memory = TRY(PcMemory::create(partition, memory, config.ram_size, std::move(firmware)));
    std::unique_ptr<PcBoard> board(new PcBoard(config, partition, memory, clock, gate,
                                               std::move(rtc_set), std::move(pc_memory)));
    TRY(board->claim_ports());
    TRY(board->attach_pci());
    TRY(board->add_serial_ports(clock));
    TRY(fill_fw_cfg(board->fw_cfg_, config, board->ram()));
    fill_cmos(board->cmos_, config, board->ram());
    return board;
}

Result<void> PcBoard::claim_ports() {
    struct Claim {
        uint16_t base;
        uint16_t size;
        IoHandler& handler;
    };
    for (const Claim& claim : std::initializer_list<Claim>{
             {kMasterPicPort, 2, pic_.master()},
             {kTimerPort, 4, pit_.counters()},
             {0x60, 1, i8042_.data_port()},
             {0x61, 1, pit_.system_control()},
             {0x64, 1, i8042_.command_port()},
             {kRtcPort, 2, cmos_.ports()},
             {0x80, 1, post_code_},
             {0x92, 1, control_port_},
             {kSlavePicPort, 2, pic_.slave()},
             {0xb2, 2, acpi_pm_.smi_ports()},
             {kElcrPort, 2, pic_.elcr()},
             {kFwCfgPort, fw_cfg::kPortCount, fw_cfg_},
             {kGpe0Port, 4, acpi_pm_.gpe0_block()},
             {0xcf8, 4, pci_.address_port()},
             {0xcfc, 4, pci_.data_port()},
         }) {
        TRY(ports_.add(claim.base, claim.size, claim.handler));
    }
    if (config_.debug_console != nullptr) {
        debugcon_ = std::make_unique<Debugcon>(*config_.debug_console);
        TRY(ports_.add(kDebugconPort, 1, *debugcon_));
    }
    TRY(mmio_.add(PcMemory::kShadowStart, PcMemory::kShadowEnd - PcMemory::kShadowStart,
                  *pc_memory_));
    return mmio_.add(kIoapicBase, kIoapicSize, ioapic_);
}

Result<void> PcBoard::attach_pci() {
    TRY(pci_.attach(0, 0, host_bridge_));
    TRY(pci_.attach(1, 0, isa_bridge_));
    TRY(pci_.attach(1, 3, pm_function_));
    // The reset control register CF9h, inside the address register's ports.
    pci_.pass_through(1, isa_bridge_.reset_port());
    return {};
}

Result<void> PcBoard::add_serial_ports(GuestClock& clock) {
    for (size_t i = 0; i < config_.serial_ports.size() && i < kSerialPorts.size(); ++i) {
        if (config_.serial_ports[i] == nullptr) {
            continue;
        }
        const SerialPort& port = kSerialPorts[i];
        IsaIrq& irq = irqs_[port.irq];
        const bool shares = i >= kSerialPorts.size() / 2;  // COM3 with COM1, COM4 with COM2
        serial_.push_back(
            std::make_unique<Serial16550A>("serial" + std::to_string(i), *config_.serial_ports[i],
                                           shares ? irq.second_device() : irq.device(), clock));
        TRY(ports_.add(port.base, 8, *serial_.back()));
    }
    return {};
}

Result<void> PcBoard::reset() {
    TRY(pc_memory_->reset());
    for (Resettable* const device : std::initializer_list<Resettable*>{
             &pci_, &host_bridge_, &isa_bridge_, &pm_function_, &acpi_pm_, &i8042_, &control_port_,
             &cmos_, &pit_, &post_code_, &fw_cfg_, &ioapic_, &pic_}) {
        device->reset();
    }
    for (const auto& port : serial_) {
        port->reset();
    }
    fill_cmos(cmos_, config_, ram());
    return {};
}

// -- what devices ask of the board; on vCPU threads, inside the access ----------------------------

void PcBoard::on_pam_changed(unsigned segment, PamMode mode) {
    if (auto mapped = pc_memory_->set_segment(segment, mode.read_ram, mode.write_ram); !mapped) {
        LOG_GUEST("shadow memory segment {} could not be mapped: {}", segment,
                  mapped.error().message());
    }
}

void PcBoard::on_smram_changed(SmramMode mode) {
    if (auto mapped = pc_memory_->set_smram_open(mode.open); !mapped) {
        LOG_GUEST("SMRAM could not be mapped: {}", mapped.error().message());
    }
}

void PcBoard::on_pm_io_changed(uint16_t base, bool enabled) {
    if (const uint16_t claimed = std::exchange(pm_base_, 0); claimed != 0) {
        ports_.remove(claimed);
    }
    if (!enabled || base == 0) {
        return;
    }
    // A guest may put the block over another device's ports; that one keeps them, as if it decoded
    // first.
    if (auto claimed = ports_.add(base, acpi_pm::kBlockSize, acpi_pm_.pm_block()); claimed) {
        pm_base_ = base;
    } else {
        LOG_GUEST("the ACPI block cannot be at port 0x{:x}: {}", base, claimed.error().message());
    }
}

void PcBoard::set_routes(std::span<const IoapicRoute> routes) {
    std::vector<MsiRoute> table;
    table.reserve(routes.size());
    for (const IoapicRoute& route : routes) {
        table.push_back({Gsi(route.gsi), {.address = route.address, .data = route.data}});
    }
    if (auto set = partition_.set_msi_routes(table); !set) {
        LOG_GUEST("the interrupt routes could not be set: {}", set.error().message());
    }
}

}  // namespace halcyon
