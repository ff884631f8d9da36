// What the instruction executor reaches of the guest on mshv: translations with the right rights,
// page faults, memory and devices.
#include "accel/mshv/mshv_instruction_bus.h"

#include <cerrno>

#include "tests/accel/mshv_fixture.h"

namespace halcyon::testing_support {
namespace {

using namespace mshv;

constexpr uint64_t kPaging = 0x80000011;
constexpr uint64_t kSmap = 1U << 21;
constexpr uint64_t kSmep = 1U << 20;
constexpr uint64_t kAlignmentCheck = 1U << 18;
constexpr uint64_t kNoExecute = 1U << 11;

class MshvInstructionBus : public MshvTest {
protected:
    void SetUp() override {
        start();
        vp_.emplace(driver, driver.vp_fd(0), 0);
        state = protected_mode_registers();
        state.cr0 = kPaging;
        driver.translations.clear();
    }
    GuestAccess access(unsigned cpl = 0) { return {*vp_, partition().memory(), io(), state, cpl}; }
    /// The flags of the translation that `use` asks for.
    template <typename Use>
    uint64_t flags_of(unsigned cpl, const Use& use) {
        driver.translations.clear();
        GuestAccess bus = access(cpl);
        EXPECT_FALSE(use(bus).has_value());
        EXPECT_EQ(driver.translations.size(), 1u);
        return driver.translations.empty() ? 0 : driver.translations.back().flags;
    }
    /// What a read, write or fetch of kData faults with, when translations end so.
    template <typename Use>
    AccessFault fault_of(TranslateResult result, unsigned cpl, const Use& use) {
        driver.on_translate = [result](const TranslateInput&) {
            return TranslateOutput{.result = result, .cache_type_and_overlay = 0, .gpa_page = 0};
        };
        GuestAccess bus = access(cpl);
        const auto fault = use(bus);
        EXPECT_TRUE(fault.has_value());
        return fault.value_or(AccessFault{});
    }

    std::array<std::byte, 4> bytes{};
    std::function<std::optional<AccessFault>(GuestAccess&)> read = [this](GuestAccess& bus) {
        return bus.read(kData, bytes);
    };
    std::function<std::optional<AccessFault>(GuestAccess&)> write = [this](GuestAccess& bus) {
        return bus.write(kData, bytes);
    };
    std::function<std::optional<AccessFault>(GuestAccess&)> fetch = [this](GuestAccess& bus) {
        return bus.fetch(kData, bytes);
    };
    VcpuRegisters state;

private:
    std::optional<VpRegisters> vp_;
};

TEST_F(MshvInstructionBus, WithoutPagingNothingIsTranslated) {
    state.cr0 = 0x11;
    guest().write<uint32_t>(kData, 0x44332211);
    GuestAccess bus = access();
    EXPECT_FALSE(bus.read(kData, bytes));
    EXPECT_EQ(bytes[0], std::byte{0x11});
    EXPECT_FALSE(bus.check_write(kData, 4));
    EXPECT_TRUE(driver.translations.empty());
}

TEST_F(MshvInstructionBus, RightsFollowThePrivilegeLevelAndTheAccess) {
    constexpr uint64_t kAlways = kTranslateSetPageTableBits;
    EXPECT_EQ(flags_of(0, read), kAlways | kTranslateValidateRead | kTranslateSupervisorAccess);
    EXPECT_EQ(flags_of(3, read), kAlways | kTranslateValidateRead | kTranslateUserAccess);
    EXPECT_EQ(flags_of(0, write), kAlways | kTranslateValidateRead | kTranslateValidateWrite |
                                      kTranslateSupervisorAccess);
    EXPECT_EQ(flags_of(3, fetch), kAlways | kTranslateValidateExecute | kTranslateUserAccess);
}

TEST_F(MshvInstructionBus, SmapHoldsUnlessTheAlignmentCheckFlagOverridesIt) {
    state.cr4 = kSmap;
    EXPECT_NE(flags_of(0, read) & kTranslateEnforceSmap, 0u);
    EXPECT_EQ(flags_of(3, read) & (kTranslateEnforceSmap | kTranslateOverrideSmap), 0u);
    EXPECT_EQ(flags_of(0, fetch) & (kTranslateEnforceSmap | kTranslateOverrideSmap), 0u);
    state.rflags |= kAlignmentCheck;
    EXPECT_EQ(flags_of(0, write) & (kTranslateEnforceSmap | kTranslateOverrideSmap),
              uint64_t{kTranslateOverrideSmap});
}

TEST_F(MshvInstructionBus, EachPageIsTranslatedOnceForAnAccess) {
    GuestAccess bus = access();
    EXPECT_FALSE(bus.write(kData, bytes));
    EXPECT_FALSE(bus.read(kData + 8, bytes)) << "what may be written may be read";
    EXPECT_FALSE(bus.write(kData + 16, bytes));
    EXPECT_EQ(driver.translations.size(), 1u);
    EXPECT_FALSE(bus.fetch(kData, bytes)) << "but not executed";
    EXPECT_EQ(driver.translations.size(), 2u);
    EXPECT_FALSE(bus.read(kData + 0x1000, bytes));
    EXPECT_EQ(driver.translations.size(), 3u);
    EXPECT_EQ(driver.translations.back().gva_page, kData / kHvPageSize + 1);
    EXPECT_EQ(driver.translations.back().vp_index, 0u);
}

TEST_F(MshvInstructionBus, AReadDoesNotMakeAPageWritable) {
    GuestAccess bus = access();
    bus.know({.linear = kData, .physical = Gpa(kData), .write = false});
    EXPECT_FALSE(bus.read(kData, bytes));
    EXPECT_TRUE(driver.translations.empty());
    EXPECT_FALSE(bus.write(kData, bytes));
    EXPECT_EQ(driver.translations.size(), 1u);
}

TEST_F(MshvInstructionBus, MoreThanFourPagesPushOutTheFirst) {
    GuestAccess bus = access();
    for (uint64_t page = 0; page < 5; ++page) {
        EXPECT_FALSE(bus.read(kData + page * kHvPageSize, bytes));
    }
    EXPECT_FALSE(bus.read(kData, bytes));
    EXPECT_EQ(driver.translations.size(), 6u);
}

TEST_F(MshvInstructionBus, PageFaultsHaveTheArchitecturesErrorCode) {
    const auto code = [&](TranslateResult result, unsigned cpl, const auto& use) {
        const AccessFault fault = fault_of(result, cpl, use);
        EXPECT_TRUE(fault.exception.has_value()) << fault.failure;
        const GuestException exception = fault.exception.value_or(GuestException{});
        EXPECT_EQ(exception.vector, 14);
        EXPECT_EQ(exception.address, kData);
        return exception.error_code.value_or(~0U);
    };
    EXPECT_EQ(code(TranslateResult::kPageNotPresent, 0, read), 0u);
    EXPECT_EQ(code(TranslateResult::kPageNotPresent, 3, write), 6u);
    EXPECT_EQ(code(TranslateResult::kPrivilegeViolation, 3, read), 5u);
    EXPECT_EQ(code(TranslateResult::kPrivilegeViolation, 0, write), 3u);
    EXPECT_EQ(code(TranslateResult::kInvalidPageTableFlags, 0, read), 9u);
    EXPECT_EQ(code(TranslateResult::kPageNotPresent, 0, fetch), 0u);
    state.efer = kNoExecute;
    EXPECT_EQ(code(TranslateResult::kPrivilegeViolation, 0, fetch), 0x11u);
    state.efer = 0;
    state.cr4 = kSmep;
    EXPECT_EQ(code(TranslateResult::kPrivilegeViolation, 0, fetch), 0x11u);
}

TEST_F(MshvInstructionBus, CheckingAWriteFaultsAsTheWriteWould) {
    const AccessFault fault = fault_of(TranslateResult::kPrivilegeViolation, 3,
                                       [](GuestAccess& bus) { return bus.check_write(kData, 4); });
    EXPECT_EQ(fault.exception, (GuestException{.vector = 14, .error_code = 7, .address = kData}));
}

TEST_F(MshvInstructionBus, WhereThereIsNoMemoryTheWalkWithoutChecksTellsTheAddress) {
    for (const TranslateResult result :
         {TranslateResult::kGpaUnmapped, TranslateResult::kGpaNoReadAccess,
          TranslateResult::kGpaNoWriteAccess}) {
        driver.translations.clear();
        driver.on_translate = [result](const TranslateInput& input) {
            const bool checked = (input.flags & kTranslatePrivilegeExempt) == 0;
            return TranslateOutput{.result = checked ? result : TranslateResult::kSuccess,
                                   .cache_type_and_overlay = 0,
                                   .gpa_page = 0xd0000};
        };
        GuestAccess bus = access();
        EXPECT_FALSE(bus.write(kData + 4, bytes));
        EXPECT_EQ(driver.translations.size(), 2u);
        EXPECT_EQ(io().accesses().back().address, 0xd0000004u);
    }
}

TEST_F(MshvInstructionBus, WhatCannotBeTranslatedIsAFailureWithTheResult) {
    for (const TranslateResult result :
         {TranslateResult::kGpaUnmapped, TranslateResult::kGpaNoReadAccess,
          TranslateResult::kGpaNoWriteAccess, TranslateResult::kGpaIllegalOverlayAccess,
          TranslateResult::kIntercept, TranslateResult::kGpaUnaccepted, TranslateResult{99}}) {
        const AccessFault fault = fault_of(result, 0, read);
        EXPECT_FALSE(fault.exception.has_value());
        EXPECT_NE(fault.failure.find("result " + std::to_string(static_cast<int>(result))),
                  std::string::npos)
            << fault.failure;
    }
}

TEST_F(MshvInstructionBus, ARefusedTranslationIsAFailure) {
    driver.faults = {{HypercallCode::kTranslateVirtualAddress, EIO, HvStatus::kInvalidVpState}};
    GuestAccess bus = access();
    const auto fault = bus.read(kData, bytes);
    ASSERT_TRUE(fault.has_value());
    EXPECT_NE(fault->failure.find("status 21"), std::string::npos) << fault->failure;
}

TEST_F(MshvInstructionBus, InstructionsAreFetchedFromMemoryOnly) {
    state.cr0 = 0x11;
    GuestAccess bus = access();
    const auto fault = bus.fetch(0xd0000000, bytes);
    ASSERT_TRUE(fault.has_value());
    EXPECT_FALSE(fault->exception.has_value());
    EXPECT_NE(fault->failure.find("0xd0000000"), std::string::npos);
    EXPECT_TRUE(io().accesses().empty());
}

TEST_F(MshvInstructionBus, DevicesSeeWidthsThatABusHas) {
    state.cr0 = 0x11;
    GuestAccess bus = access();
    std::array<std::byte, 16> wide{};
    EXPECT_FALSE(bus.read(0xd0000000, wide));
    EXPECT_FALSE(bus.write(0xd0000000, std::span(wide).first(7)));
    std::vector<std::pair<uint64_t, size_t>> seen;
    for (const Access& access : io().accesses()) {
        seen.emplace_back(access.address - 0xd0000000, access.width);
    }
    EXPECT_EQ(seen,
              (std::vector<std::pair<uint64_t, size_t>>{{0, 8}, {8, 8}, {0, 4}, {4, 2}, {6, 1}}));
}

TEST_F(MshvInstructionBus, PortsAreThePartitionsPorts) {
    GuestAccess bus = access();
    bus.port_write(0x3f8, std::span(bytes).first(2));
    bus.port_read(0x3f9, std::span(bytes).first(1));
    EXPECT_EQ(io().accesses(), (std::vector<Access>{{AccessKind::kPioWrite, 0x3f8, 2, 0},
                                                    {AccessKind::kPioRead, 0x3f9, 1, 0xff}}));
}

TEST_F(MshvInstructionBus, XmmRegistersAreGotAndSetByName) {
    GuestAccess bus = access();
    std::array<std::byte, 16> value{};
    value[0] = std::byte{1};
    value[15] = std::byte{2};
    EXPECT_FALSE(bus.write_xmm(9, value));
    EXPECT_EQ(driver.reg(RegisterName{0x30009}).high, uint64_t{2} << 56);
    std::array<std::byte, 16> back{};
    EXPECT_FALSE(bus.read_xmm(9, back));
    EXPECT_EQ(back, value);
    driver.missing_registers = {RegisterName{0x30009}};
    EXPECT_TRUE(bus.read_xmm(9, back).has_value());
    EXPECT_TRUE(bus.write_xmm(9, value).has_value());
}

TEST_F(MshvInstructionBus, CheckingAReadFaultsAsTheReadWould) {
    const AccessFault fault = fault_of(TranslateResult::kPageNotPresent, 3,
                                       [](GuestAccess& bus) { return bus.check_read(kData, 4); });
    ASSERT_TRUE(fault.exception.has_value());
    EXPECT_EQ(fault.exception->error_code, 4u);
    EXPECT_EQ(fault.exception->address, kData);
}

/// TOP 5, registers 5 to 7 in use, ST0 to ST7 with their numbers in them.
void use_x87(FakeMshv& driver) {
    for (unsigned i = 0; i < 8; ++i) {
        driver.set_reg(nth(RegisterName::kFpMmx0, i), 0x100 + i);
    }
    driver.set_reg(RegisterName::kFpControlStatus, 0xe0'2800'037f);
}

TEST_F(MshvInstructionBus, MmxRegistersAreCountedFromZeroAndTheStackEnds) {
    use_x87(driver);
    GuestAccess bus = access();
    std::array<std::byte, 8> value{};
    EXPECT_FALSE(bus.mmx()->read_mmx(6, value));
    EXPECT_EQ(value[0], std::byte{1});  // was ST1
    EXPECT_EQ(value[1], std::byte{1});
    EXPECT_EQ(driver.reg(RegisterName::kFpMmx0).low, 0x103u);
    EXPECT_EQ(driver.reg(RegisterName::kFpControlStatus).low, 0xff'0000'037fu);
}

TEST_F(MshvInstructionBus, AnMmxRegisterThatIsWrittenIsNoNumber) {
    use_x87(driver);
    GuestAccess bus = access();
    std::array<std::byte, 8> value{std::byte{0xab}};
    EXPECT_FALSE(bus.mmx()->write_mmx(3, value));
    EXPECT_EQ(driver.reg(nth(RegisterName::kFpMmx0, 3)).low, 0xabu);
    EXPECT_EQ(driver.reg(nth(RegisterName::kFpMmx0, 3)).high, 0xffffu);
    EXPECT_EQ(driver.reg(RegisterName::kFpControlStatus).low, 0xff'0000'037fu);
    driver.missing_registers = {nth(RegisterName::kFpMmx0, 3)};
    EXPECT_TRUE(bus.mmx()->read_mmx(3, value).has_value());
    EXPECT_TRUE(bus.mmx()->write_mmx(3, value).has_value());
}

}  // namespace
}  // namespace halcyon::testing_support
