#include "machine/pc_board.h"

#include <gtest/gtest.h>

#include "machine/guest_clock.h"
#include "tests/machine/fake_accelerator.h"
#include "tests/machine/temp_file.h"
#include "tests/machine/test_loop.h"

namespace halcyon {
namespace {

class Sink : public CharBackend {
public:
    size_t write(std::span<const std::byte> data) override { return data.size(); }
    void input_wanted() override {}
    void connect(CharFrontend*) override {}
};

class PcBoardTest : public testing::Test {
protected:
    void SetUp() override {
        config_.firmware_path = firmware_.path();
        config_.ram_size = 64_MiB;
        config_.vcpu_count = 3;
        create();
    }
    void create() {
        auto board = PcBoard::create(config_, partition_, memory_, clock_, gate_);
        ASSERT_TRUE(board) << board.error().message();
        board_ = std::move(*board);
        clock_.set_running(true);
    }
    void out(uint16_t port, uint32_t value, size_t width = 1) {
        std::array<std::byte, 4> data{};
        store_le(data, value);
        board_->io().pio_write(PioPort(port), std::span(data).first(width));
    }
    uint32_t in(uint16_t port, size_t width = 1) {
        std::array<std::byte, 4> data{};
        board_->io().pio_read(PioPort(port), std::span(data).first(width));
        return static_cast<uint32_t>(load_le(std::span(data).first(width)));
    }
    uint32_t mmio_in(uint64_t address) {
        std::array<std::byte, 4> data{};
        board_->io().mmio_read(Gpa(address), data);
        return static_cast<uint32_t>(load_le(data));
    }
    void mmio_out(uint64_t address, uint32_t value) {
        std::array<std::byte, 4> data{};
        store_le(data, value);
        board_->io().mmio_write(Gpa(address), data);
    }
    uint8_t cmos(uint8_t index) {
        out(0x70, index);
        return static_cast<uint8_t>(in(0x71));
    }
    void select_pci(unsigned device, unsigned function, uint8_t offset) {
        out(0xcf8, 0x80000000 | device << 11 | function << 8 | (offset & 0xfc), 4);
    }
    uint32_t pci_in(unsigned device, unsigned function, uint8_t offset) {
        select_pci(device, function, offset);
        return in(0xcfc, 4);
    }
    void pci_out(unsigned device, unsigned function, uint8_t offset, uint32_t value, size_t width) {
        select_pci(device, function, offset);
        out(static_cast<uint16_t>(0xcfc + (offset & 3)), value, width);
    }
    /// Puts the ACPI block at `base`, as firmware does: PMBASE and PMREGMISC of the PIIX4.
    void map_acpi(uint16_t base) {
        pci_out(1, 3, 0x40, base | 1u, 4);
        pci_out(1, 3, 0x80, 1, 1);
    }

    test::FakeHypervisor hypervisor_;
    test::FakePartition partition_{hypervisor_};
    test::TempFile firmware_{std::string(65536, '\xf4')};
    test::TestLoop loop_;
    MachineClock clock_{loop_};
    GuestMemory memory_;
    std::vector<PowerRequest> requests_;
    PowerGate gate_{[this](PowerRequest request) { requests_.push_back(request); }};
    MachineConfig config_;
    std::unique_ptr<PcBoard> board_;
};

TEST_F(PcBoardTest, CmosHoldsTheMemorySizes) {
    EXPECT_EQ(cmos(0x15) | cmos(0x16) << 8, 640);
    EXPECT_EQ(cmos(0x17) | cmos(0x18) << 8, 63 * 1024);
    EXPECT_EQ(cmos(0x30) | cmos(0x31) << 8, 63 * 1024);
    EXPECT_EQ(cmos(0x34) | cmos(0x35) << 8, 48 * 16);
    EXPECT_EQ(cmos(0x5b) | cmos(0x5c) | cmos(0x5d), 0);
}

TEST_F(PcBoardTest, CmosHoldsTheVcpusAndTheBootOrder) {
    EXPECT_EQ(cmos(0x5f), 2);
    EXPECT_EQ(cmos(0x3d), 0x12);
    EXPECT_EQ(cmos(0x38), 0x30);
}

TEST_F(PcBoardTest, CmosIsRestoredByAReset) {
    out(0x70, 0x5f);
    out(0x71, 77);
    ASSERT_EQ(cmos(0x5f), 77);
    ASSERT_TRUE(board_->reset());
    EXPECT_EQ(cmos(0x5f), 2);
}

TEST_F(PcBoardTest, FwCfgAnswersWithItsSignatureAndTheRamSize) {
    const auto item = [this](uint16_t key, size_t size) {
        out(0x510, key, 2);
        std::string bytes;
        for (size_t i = 0; i < size; ++i) {
            bytes.push_back(static_cast<char>(in(0x511)));
        }
        return bytes;
    };
    EXPECT_EQ(item(0x00, 4), "QEMU");
    EXPECT_EQ(item(0x03, 8), std::string("\0\0\0\4\0\0\0\0", 8));
    EXPECT_EQ(item(0x05, 2), std::string("\3\0", 2));
}

TEST_F(PcBoardTest, PciHasTheHostBridgeAndThePiix) {
    EXPECT_EQ(pci_in(0, 0, 0), 0x12378086u);
    EXPECT_EQ(pci_in(1, 0, 0), 0x70008086u);
    EXPECT_EQ(pci_in(1, 3, 0), 0x71138086u);
    EXPECT_EQ(pci_in(2, 0, 0), 0xffffffffu);
}

TEST_F(PcBoardTest, PamRegistersMoveTheShadowedSegments) {
    ASSERT_EQ(partition_.mappings.at(0xf0000).access, MemoryAccess::kReadOnly);
    pci_out(0, 0, 0x59, 0x30, 1);  // PAM0: F0000 read and write RAM
    EXPECT_EQ(partition_.mappings.at(0xf0000).access, MemoryAccess::kReadWrite);
    pci_out(0, 0, 0x5a, 0x03, 1);  // PAM1: C0000 RAM, C4000 bus
    EXPECT_EQ(partition_.mappings.at(0xc0000).access, MemoryAccess::kReadWrite);
    EXPECT_FALSE(partition_.mappings.contains(0xc4000));
    ASSERT_TRUE(board_->reset());
    EXPECT_EQ(partition_.mappings.at(0xf0000).access, MemoryAccess::kReadOnly);
    EXPECT_FALSE(partition_.mappings.contains(0xc0000));
}

TEST_F(PcBoardTest, OpenSmramShowsTheRamBehindTheVgaWindow) {
    pci_out(0, 0, 0x72, 0x4a, 1);  // D_OPEN, G_SMRAME
    EXPECT_TRUE(partition_.mappings.contains(0xa0000));
    ASSERT_TRUE(board_->reset());
    EXPECT_FALSE(partition_.mappings.contains(0xa0000));
}

TEST_F(PcBoardTest, AcpiBlockAppearsWhereThePiixSaysAndMoves) {
    EXPECT_EQ(in(0x608, 4), 0xffffffffu);
    map_acpi(0x600);
    EXPECT_NE(in(0x608, 4), 0xffffffffu);
    map_acpi(0xb000);
    EXPECT_EQ(in(0x608, 4), 0xffffffffu);
    EXPECT_NE(in(0xb008, 4), 0xffffffffu);
    ASSERT_TRUE(board_->reset());
    EXPECT_EQ(in(0xb008, 4), 0xffffffffu);
}

TEST_F(PcBoardTest, AcpiBlockOverAnotherDeviceIsRefusedAndHarmless) {
    map_acpi(0x40);  // over the timer
    EXPECT_EQ(in(0x61) & 0xc0, 0u);
    map_acpi(0x600);
    EXPECT_NE(in(0x608, 4), 0xffffffffu);
}

TEST_F(PcBoardTest, SleepTypeFiveAsksForThePowerOff) {
    map_acpi(0x600);
    out(0x604, 0x2000, 2);
    EXPECT_EQ(requests_, std::vector{PowerRequest::kShutdown});
}

TEST_F(PcBoardTest, EveryResetSwitchAsksForAReset) {
    for (const auto& [port, value] : {std::pair(0x64, 0xfe), {0x92, 0x01}, {0xcf9, 0x06}}) {
        requests_.clear();
        gate_.clear();
        ASSERT_TRUE(board_->reset());
        out(static_cast<uint16_t>(port), static_cast<uint32_t>(value));
        EXPECT_EQ(requests_, std::vector{PowerRequest::kReset}) << std::hex << port;
    }
}

TEST_F(PcBoardTest, PowerButtonRaisesTheSciThroughTheIoapic) {
    map_acpi(0x600);
    out(0x602, 0x100, 2);  // PWRBTN_EN
    out(0xb2, 0xf1);       // ACPI on
    mmio_out(0xfec00000, 0x10 + 2 * 9);
    mmio_out(0xfec00010, 0x8000 | 0x31);  // pin 9: level, vector 31h, unmasked
    board_->press_power_button();
    ASSERT_EQ(hypervisor_.messages.size(), 1u);
    EXPECT_EQ(hypervisor_.messages[0].data & 0xff, 0x31u);
    EXPECT_EQ(in(0x600, 2) & 0x100, 0x100u);
}

TEST_F(PcBoardTest, LevelInterruptComesAgainAfterItsEndWhileItsLineIsHigh) {
    map_acpi(0x600);
    out(0x602, 0x100, 2);
    out(0xb2, 0xf1);
    mmio_out(0xfec00000, 0x10 + 2 * 9);
    mmio_out(0xfec00010, 0x8000 | 0x31);
    board_->press_power_button();
    board_->io().end_of_interrupt(0x31);
    EXPECT_EQ(hypervisor_.messages.size(), 2u);
    out(0x600, 0x100, 2);  // clears PWRBTN_STS: the line falls
    board_->io().end_of_interrupt(0x31);
    EXPECT_EQ(hypervisor_.messages.size(), 2u);
}

TEST_F(PcBoardTest, TimerInterruptReachesThePicAndIoapicPinTwo) {
    // 8259: vectors from 8, only IRQ 0 unmasked.
    out(0x20, 0x11);
    out(0x21, 0x08);
    out(0x21, 0x04);
    out(0x21, 0x01);
    out(0x21, 0xfe);
    mmio_out(0xfec00000, 0x10 + 2 * 2);
    mmio_out(0xfec00010, 0x40);  // pin 2: edge, vector 40h
    out(0x43, 0x34);
    out(0x40, 0x00);
    out(0x40, 0x10);
    loop_.advance(std::chrono::milliseconds(10));
    loop_.run_ready();
    EXPECT_TRUE(hypervisor_.extint);
    EXPECT_EQ(board_->io().acknowledge_extint(), 8);
    ASSERT_FALSE(hypervisor_.messages.empty());
    EXPECT_EQ(hypervisor_.messages[0].data & 0xff, 0x40u);
}

TEST_F(PcBoardTest, SerialPortsThatShareAnInterruptDoNotTakeItFromEachOther) {
    board_.reset();
    partition_.mappings.clear();
    Sink sink;
    config_.serial_ports = {&sink, nullptr, &sink};
    GuestMemory memory;
    auto board = PcBoard::create(config_, partition_, memory, clock_, gate_);
    ASSERT_TRUE(board) << board.error().message();
    board_ = std::move(*board);
    mmio_out(0xfec00000, 0x10 + 2 * 4);
    mmio_out(0xfec00010, 0x8000 | 0x31);  // pin 4: level, vector 31h, unmasked
    for (const unsigned port : {0x3f8u, 0x3e8u}) {
        out(static_cast<uint16_t>(port + 4), 0x08);  // MCR: OUT2
        out(static_cast<uint16_t>(port + 1), 0x02);  // IER: transmitter empty, which it is
    }
    ASSERT_EQ(hypervisor_.messages.size(), 1u);
    out(0x3e8 + 1, 0);  // COM3 wants nothing more, COM1 still does
    board_->io().end_of_interrupt(0x31);
    EXPECT_EQ(hypervisor_.messages.size(), 2u);
    board_.reset();  // before what it uses
}

TEST_F(PcBoardTest, IoapicIsAtItsAddress) {
    mmio_out(0xfec00000, 1);
    EXPECT_EQ(mmio_in(0xfec00010) >> 16 & 0xff, 23u);
    EXPECT_EQ(mmio_in(0xfed00000), 0xffffffffu);
}

TEST_F(PcBoardTest, SlotsWithoutSerialPortReadAsNothing) {
    EXPECT_EQ(in(0x3f8 + 5), 0xffu);
    EXPECT_EQ(in(0x402), 0xffu);
}

/// The number that a device's property has now.
int64_t number_of(const DeviceDescription& device, std::string_view name) {
    for (const DeviceProperty& property : device.properties) {
        if (property.name == name) {
            return std::get<int64_t>(property.value);
        }
    }
    ADD_FAILURE() << device.model << " has no " << name;
    return -1;
}

std::vector<DeviceDescription> of_model(Board& board, std::string_view model) {
    std::vector<DeviceDescription> found = board.devices();
    std::erase_if(found, [&](const DeviceDescription& device) { return device.model != model; });
    return found;
}

TEST_F(PcBoardTest, DescribesItsDevicesAsQemuNamesThem) {
    Sink sink;
    config_.serial_ports = {&sink, nullptr, &sink};
    config_.debug_console = &sink;
    board_.reset();
    memory_ = GuestMemory();
    partition_.mappings.clear();
    create();
    std::vector<std::string> models;
    for (const DeviceDescription& device : board_->devices()) {
        models.emplace_back(device.model);
    }
    EXPECT_EQ(models, (std::vector<std::string>{"i440FX-pcihost", "i440FX", "PIIX3", "PIIX4_PM",
                                                "ioapic", "fw_cfg_io", "isa-i8259", "isa-i8259",
                                                "mc146818rtc", "isa-pit", "isa-serial",
                                                "isa-serial", "i8042", "port92", "isa-debugcon"}));
    const auto ports = of_model(*board_, "isa-serial");
    EXPECT_EQ(number_of(ports[0], "iobase"), 0x3f8);
    EXPECT_EQ(number_of(ports[1], "iobase"), 0x3e8);
    EXPECT_EQ(number_of(ports[1], "index"), 2);
    EXPECT_EQ(number_of(of_model(*board_, "i440FX")[0], "x-pci-device-id"), 0x1237);
    board_.reset();  // before its consoles
}

TEST_F(PcBoardTest, DescribesWhatTheGuestHasSet) {
    EXPECT_EQ(number_of(of_model(*board_, "PIIX4_PM")[0], "pm_io_base"), 0);
    map_acpi(0x600);
    EXPECT_EQ(number_of(of_model(*board_, "PIIX4_PM")[0], "pm_io_base"), 0x600);
    const auto ports = board_->port_map();
    EXPECT_TRUE(std::ranges::count(ports, AddressBlock{0x600, 64, AddressKind::kIo, "acpi-pm"}));
    EXPECT_TRUE(std::ranges::is_sorted(ports, {}, &AddressBlock::start));
}

TEST_F(PcBoardTest, MapsTheMemoryThatTheGuestSees) {
    using enum AddressKind;
    const std::vector<AddressBlock> at_reset = {
        {0, 640_KiB, kRam, "pc.ram"},
        {0xf0000, 64_KiB, kRom, "isa-bios"},
        {1_MiB, 63_MiB, kRam, "pc.ram"},
        {0xfec00000, 0x1000, kIo, "ioapic"},
        {4_GiB - 64_KiB, 64_KiB, kRom, "pc.bios"},
    };
    EXPECT_EQ(board_->memory_map(), at_reset);
    pci_out(0, 0, 0x59, 0x30, 1);  // PAM0: segment 0 is RAM
    pci_out(0, 0, 0x5a, 0x11, 1);  // PAM1: C0000-C7FFF shows RAM, writes go to the bus
    const auto map = board_->memory_map();
    EXPECT_EQ(map[1], (AddressBlock{0xc0000, 32_KiB, kRom, "pc.ram"}));
    EXPECT_EQ(map[2], (AddressBlock{0xf0000, 64_KiB + 63_MiB, kRam, "pc.ram"}));
    ASSERT_TRUE(board_->reset());
    EXPECT_EQ(board_->memory_map(), at_reset);
}

}  // namespace
}  // namespace halcyon
