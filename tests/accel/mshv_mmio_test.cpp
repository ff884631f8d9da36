// The mshv backend's answers to memory intercepts: devices, read-only memory, holes, exceptions.
#include <cerrno>

#include "tests/accel/mshv_fixture.h"

namespace halcyon::testing_support {
namespace {

using namespace mshv;

constexpr auto kUnmapped = MessageType::kUnmappedGpa;
constexpr auto kIntercept = MessageType::kGpaIntercept;
constexpr uint64_t kDevice = 0xd0000000;
constexpr uint64_t kRom = 0xf0000;

// mov eax, [0xd0000000]
const Code kLoad = {0xa1, 0x00, 0x00, 0x00, 0xd0};
// mov [0xd0000000], eax
const Code kStore = {0xa3, 0x00, 0x00, 0x00, 0xd0};
// ud2
const Code kUndefined = {0x0f, 0x0b};

TranslateOutput translation(TranslateResult result, uint64_t gpa_page = 0) {
    return {.result = result, .cache_type_and_overlay = 0, .gpa_page = gpa_page};
}

class MshvMmio : public MshvTest {
protected:
    void start_with_rom(PartitionConfig config = {}) {
        start(config);
        auto rom = Mapping::anonymous(kPageSize, "ROM");
        ASSERT_TRUE(rom);
        rom_ = *std::move(rom);
        ASSERT_TRUE(
            partition().map_memory({Gpa(kRom), kPageSize}, rom_.data(), MemoryAccess::kReadOnly));
    }
    /// Paging on, with what `translate` says.
    void page_with(std::function<TranslateOutput(const TranslateInput&)> translate) {
        driver.set_reg(RegisterName::kCr0, 0x80000011);
        driver.on_translate = std::move(translate);
    }

private:
    Mapping rom_;
};

TEST_F(MshvMmio, ALoadFromADeviceIsCarriedOut) {
    for (const bool page : {true, false}) {
        SCOPED_TRACE(page);
        driver.register_page = page;
        start();
        io().on_read = [](const Access&) { return 0x12345678; };
        run_to_kick(
            {message_step(kUnmapped, memory_access(InterceptAccess::kRead, kDevice, kLoad))});
        EXPECT_EQ(gpr(kRax), 0x12345678u);
        EXPECT_EQ(rip(), kCode + 5u);
        EXPECT_EQ(io().accesses(),
                  (std::vector<Access>{{AccessKind::kMmioRead, kDevice, 4, 0x12345678}}));
        EXPECT_EQ(vcpu().counters()->mmio_exits.value(), 1u);
    }
}

TEST_F(MshvMmio, WithTheRegisterPageAnAccessCostsNoHypercall) {
    start();
    const uint64_t before = vcpu().hypercalls().calls.load();
    run_to_kick({message_step(kUnmapped, memory_access(InterceptAccess::kRead, kDevice, kLoad)),
                 [&](Message&) {
                     EXPECT_EQ(vcpu().hypercalls().calls.load(), before);
                     return -EINTR;
                 }});
}

TEST_F(MshvMmio, AWriteToReadOnlyMemoryGoesToTheBus) {
    start_with_rom();
    set_gpr(kRax, 0xaabbccdd);
    // mov [0xf0010], eax
    run_to_kick({message_step(kIntercept, memory_access(InterceptAccess::kWrite, kRom + 0x10,
                                                        {0xa3, 0x10, 0x00, 0x0f, 0x00}))});
    EXPECT_EQ(io().accesses(),
              (std::vector<Access>{{AccessKind::kMmioWrite, kRom + 0x10, 4, 0xaabbccdd}}));
    EXPECT_EQ(rip(), kCode + 5u);
}

TEST_F(MshvMmio, BytesThatAreMissingAreFetched) {
    start();
    guest().load(kCode, kLoad);
    io().on_read = [](const Access&) { return 0x12345678; };
    for (const size_t given : {size_t{0}, size_t{1}}) {
        guest().set_registers(protected_mode_registers());
        run_to_kick({message_step(
            kUnmapped, memory_access(InterceptAccess::kRead, kDevice,
                                     Code(kLoad.begin(),
                                          kLoad.begin() + static_cast<std::ptrdiff_t>(given))))});
        EXPECT_EQ(rip(), kCode + 5u);
    }
}

TEST_F(MshvMmio, AJumpIntoAHoleIsAFault) {
    start();
    const std::string text = run_to_fault(
        {message_step(kUnmapped, memory_access(InterceptAccess::kExecute, kDevice, {}))});
    EXPECT_NE(text.find("0xd0000000"), std::string::npos) << text;
}

TEST_F(MshvMmio, RamThatTheHostCannotProvideIsAFaultAndNoLoop) {
    start_with_rom();
    for (const auto& [access, gpa] : {std::pair{InterceptAccess::kRead, uint64_t{kData}},
                                      {InterceptAccess::kWrite, uint64_t{kData}},
                                      {InterceptAccess::kExecute, uint64_t{kCode}},
                                      {InterceptAccess::kRead, kRom}}) {
        const std::string text =
            run_to_fault({message_step(kIntercept, memory_access(access, gpa, kLoad))});
        EXPECT_NE(text.find("the host has no memory"), std::string::npos) << text;
    }
}

TEST_F(MshvMmio, MemoryThatWasMappedMeanwhileIsTriedAgain) {
    start();
    auto page = Mapping::anonymous(kPageSize, "page");
    ASSERT_TRUE(page);
    run_to_kick({[&](Message& message) {
        EXPECT_TRUE(partition().map_memory({Gpa(kDevice), kPageSize}, page->data(),
                                           MemoryAccess::kReadWrite));
        return message_step(kUnmapped,
                            memory_access(InterceptAccess::kRead, kDevice, kLoad))(message);
    }});
    EXPECT_TRUE(io().accesses().empty());
    EXPECT_EQ(rip(), kCode);
    guest().destroy();
}

TEST_F(MshvMmio, AnAccessOfAnInterruptsDeliveryIsAFault) {
    start();
    auto message = memory_access(InterceptAccess::kWrite, kDevice, kLoad);
    message.header.execution_state |= kExecutionInterruptionPending;
    EXPECT_NE(run_to_fault({message_step(kUnmapped, message)}).find("interrupt's delivery"),
              std::string::npos);
    EXPECT_TRUE(io().accesses().empty());
}

TEST_F(MshvMmio, AnInstructionThatIsNotHandledIsAFaultWithItsBytes) {
    start();
    const std::string text = run_to_fault(
        {message_step(kUnmapped, memory_access(InterceptAccess::kRead, kDevice, kUndefined))});
    EXPECT_NE(text.find("0f 0b"), std::string::npos) << text;
}

TEST_F(MshvMmio, InTheShadowOfStiTheShadowEnds) {
    start();
    driver.set_reg(RegisterName::kInterruptState, kInterruptShadow);
    auto message = memory_access(InterceptAccess::kRead, kDevice, kLoad);
    message.header.execution_state |= kExecutionInterruptShadow;
    run_to_kick({message_step(kUnmapped, message)});
    EXPECT_EQ(driver.reg(RegisterName::kInterruptState).low, 0u);
    EXPECT_EQ(rip(), kCode + 5u);
}

TEST_F(MshvMmio, AnAccessThatIsSingleSteppedIsFollowedByItsTrap) {
    start();
    driver.set_reg(RegisterName::kRflags, 0x102);
    auto message = memory_access(InterceptAccess::kRead, kDevice, kLoad);
    message.header.rflags = 0x102;
    run_to_kick({message_step(kUnmapped, message)});
    EXPECT_EQ(driver.reg(RegisterName::kPendingEvent0).low, pending_exception(1, false, 0, 0).low);
    EXPECT_EQ(driver.reg(RegisterName::kDr6).low & 0x4000, 0x4000u);
    EXPECT_EQ(rip(), kCode + 5u);
}

TEST_F(MshvMmio, ATrapThatCannotBeRaisedIsAFault) {
    start();
    driver.set_reg(RegisterName::kRflags, 0x102);
    auto message = memory_access(InterceptAccess::kRead, kDevice, kLoad);
    message.header.rflags = 0x102;
    driver.missing_registers = {RegisterName::kDr6};
    run_to_fault({message_step(kUnmapped, message)});
}

// ---- paging ----

TEST_F(MshvMmio, WhatTheMessageSaysOfItsAddressNeedsNoTranslation) {
    start();
    page_with({});
    auto message = memory_access(InterceptAccess::kRead, 0xfe000000, kLoad);
    message.guest_virtual_address = kDevice;
    run_to_kick({message_step(kUnmapped, message)});
    EXPECT_TRUE(driver.translations.empty());
    EXPECT_EQ(io().accesses().at(0).address, 0xfe000000u);
}

TEST_F(MshvMmio, WhatTheMessageDoesNotSayIsTranslated) {
    for (const uint8_t info : {uint8_t{0}, uint8_t{kGvaValid}, uint8_t{kGvaGpaValid}}) {
        start();
        driver.translations.clear();
        page_with(
            [](const TranslateInput&) { return translation(TranslateResult::kSuccess, 0xfe000); });
        auto message = memory_access(InterceptAccess::kRead, 0xfe000000, kLoad);
        message.guest_virtual_address = 0;
        message.access_info = info;
        run_to_kick({message_step(kUnmapped, message)});
        EXPECT_EQ(driver.translations.size(), 1u);
        EXPECT_EQ(io().accesses().at(0).address, 0xfe000000u);
    }
}

TEST_F(MshvMmio, APageFaultIsRaisedWithItsAddressAndTheInstructionStays) {
    start();
    page_with([](const TranslateInput&) { return translation(TranslateResult::kPageNotPresent); });
    auto message = memory_access(InterceptAccess::kWrite, kDevice, kStore);
    message.access_info = 0;
    run_to_kick({message_step(kUnmapped, message)});
    const RegisterValue event = driver.reg(RegisterName::kPendingEvent0);
    EXPECT_EQ(event.low, 0x2'000e'0101u);  // a write, not present
    EXPECT_EQ(event.high, kDevice);
    EXPECT_EQ(rip(), kCode);
    EXPECT_TRUE(io().accesses().empty());
}

TEST_F(MshvMmio, InRealModeExceptionsHaveNoErrorCode) {
    start();
    guest().set_registers(real_mode_registers());
    // mov eax, [0xffffe]: four bytes beyond the segment's limit
    auto message =
        memory_access(InterceptAccess::kRead, kDevice, {0x67, 0x66, 0xa1, 0xfe, 0xff, 0x0f, 0x00});
    message.header.execution_state = 0;
    run_to_kick({message_step(kUnmapped, message)});
    EXPECT_EQ(driver.reg(RegisterName::kPendingEvent0).low, 0xd'0001u);  // #GP
}

TEST_F(MshvMmio, WhatTheHypervisorRefusesOnTheWayIsAFault) {
    const auto fails = [&](HypercallCode code, uint8_t info) {
        start();
        page_with({});
        auto message = memory_access(InterceptAccess::kRead, kDevice, kLoad);
        message.access_info = info;
        return run_to_fault({[&](Message& to) {
            driver.faults = {{code, EIO, HvStatus::kOperationFailed}};
            return message_step(kUnmapped, message)(to);
        }});
    };
    EXPECT_NE(fails(HypercallCode::kTranslateVirtualAddress, 0).find("TRANSLATE"),
              std::string::npos);
    driver.register_page = false;
    EXPECT_NE(fails(HypercallCode::kGetVpRegisters, 3).find("GET_VP_REGISTERS"), std::string::npos);
    EXPECT_NE(fails(HypercallCode::kSetVpRegisters, 3).find("SET_VP_REGISTERS"), std::string::npos);
}

TEST_F(MshvMmio, AnExceptionThatCannotBeRaisedIsAFault) {
    start();
    page_with([](const TranslateInput&) { return translation(TranslateResult::kPageNotPresent); });
    auto message = memory_access(InterceptAccess::kRead, kDevice, kLoad);
    message.access_info = 0;
    run_to_fault({[&](Message& to) {
        driver.faults = {{HypercallCode::kSetVpRegisters, EIO, HvStatus::kOperationFailed}};
        return message_step(kUnmapped, message)(to);
    }});
}

TEST_F(MshvMmio, AShadowThatCannotBeEndedIsAFault) {
    start();
    auto message = memory_access(InterceptAccess::kRead, kDevice, kLoad);
    message.header.execution_state |= kExecutionInterruptShadow;
    driver.faults = {{HypercallCode::kSetVpRegisters, EIO, HvStatus::kOperationFailed}};
    run_to_fault({message_step(kUnmapped, message)});
}

TEST_F(MshvMmio, APageThatBecomesInvalidOnTheWayIsNotWritten) {
    start();
    io().on_read = [&](const Access&) {
        driver.page()->is_valid = 0;
        return 0x12345678;
    };
    run_to_kick({message_step(kUnmapped, memory_access(InterceptAccess::kRead, kDevice, kLoad))});
    EXPECT_EQ(gpr(kRax), 0x12345678u);
    EXPECT_EQ(rip(), kCode + 5u);
    EXPECT_EQ(driver.page()->dirty, 0u);
}

TEST_F(MshvMmio, APageOfAnotherVersionIsNotUsed) {
    start();
    driver.page_version = kRegisterPageVersion + 1;
    run_to_kick({message_step(kUnmapped, memory_access(InterceptAccess::kRead, kDevice, kLoad))});
    EXPECT_EQ(rip(), kCode + 5u);
    EXPECT_EQ(register_hypercalls(), 2u) << "one to get, one to set";
}

}  // namespace
}  // namespace halcyon::testing_support
