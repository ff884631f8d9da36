/// What the hypercalls do to a stopped VP: registers, translation, CPUID, intercepts, messages,
/// time.
#include <cerrno>
#include <cstring>

#include "tests/mshv-emulator/abi_status_fixture.h"

namespace halcyon::mshv {
namespace {

class AbiRegistersTest : public AbiStatusTest {
protected:
    void SetUp() override {
        AbiStatusTest::SetUp();
        if (!IsSkipped() && !HasFatalFailure()) {
            create_vp(0);
        }
    }
};

TEST_F(AbiRegistersTest, EarlyAndLateProperties) {
    const CallResult wrong_state{EIO, HvStatus::kInvalidPartitionState, 0};
    EXPECT_EQ(set_property(PartitionProperty::kSyntheticProcFeatures, 1), wrong_state);
    make_partition(kPartitionLapic);
    EXPECT_EQ(set_property(PartitionProperty::kSyntheticProcFeatures, 1), kDone);
    EXPECT_EQ(set_property(PartitionProperty::kTimeFreeze, 1), wrong_state);
}

TEST_F(AbiRegistersTest, FrozenTimeStandsStill) {
    ASSERT_EQ(set_property(PartitionProperty::kTimeFreeze, 1), kDone);
    uint64_t before = 0;
    uint64_t after = 0;
    get_property(partition, PartitionProperty::kReferenceTime, before);
    const uint64_t tsc = get(RegisterName::kTsc).low;
    get_property(partition, PartitionProperty::kReferenceTime, after);
    EXPECT_EQ(before, after);
    EXPECT_EQ(get(RegisterName::kTsc).low, tsc);
    ASSERT_EQ(set_property(PartitionProperty::kReferenceTime, 1'000'000'000), kDone);
    ASSERT_EQ(set_property(PartitionProperty::kTimeFreeze, 0), kDone);
    get_property(partition, PartitionProperty::kReferenceTime, after);
    EXPECT_GE(after, 1'000'000'000U);
    EXPECT_GT(get(RegisterName::kTsc).low, tsc);
    EXPECT_EQ(set_property(PartitionProperty::kReferenceTime, 1).status,
              HvStatus::kInvalidPartitionState);
}

TEST_F(AbiRegistersTest, TscThatIsSetWhileTimeIsFrozenGoesOnFromThere) {
    ASSERT_EQ(set_property(PartitionProperty::kTimeFreeze, 1), kDone);
    ASSERT_EQ(set(RegisterName::kTsc, 5'000'000).error, 0);
    if (get(RegisterName::kTsc).low > uint64_t{1} << 40) {
        GTEST_SKIP() << "this KVM's guests see the host's TSC";
    }
    EXPECT_EQ(get(RegisterName::kTsc).low, 5'000'000U);
    ASSERT_EQ(set_property(PartitionProperty::kTimeFreeze, 0), kDone);
    EXPECT_GT(get(RegisterName::kTsc).low, 5'000'000U);
}

// ---- Registers ---------------------------------------------------------------------------------

TEST_F(AbiRegistersTest, AFreshVpIsAsAfterReset) {
    EXPECT_EQ(get(RegisterName::kRip).low, 0xfff0U);
    EXPECT_EQ(get(RegisterName::kRflags).low, 2U);
    EXPECT_EQ(get(RegisterName::kCr0).low, 0x60000010U);
    EXPECT_EQ(get(RegisterName::kCs).low, 0xffff0000U);
    EXPECT_EQ(get(RegisterName::kCs).high, 0x009bf0000000ffffU);
    EXPECT_NE(get(RegisterName{0x20002}).low, 0U);  // RDX: the signature
    EXPECT_EQ(get(RegisterName::kExplicitSuspend).low, 1U);
    EXPECT_EQ(get(RegisterName::kInterceptSuspend).low, 0U);
    EXPECT_EQ(get(RegisterName::kApicBase).low, 0xfee00900U);
    EXPECT_EQ(get(RegisterName::kXfem).low, 1U);
    EXPECT_EQ(get(RegisterName::kDr7).low, 0x400U);
    EXPECT_EQ(get(RegisterName::kInternalActivityState).low, 0U);
}

TEST_F(AbiRegistersTest, OtherVpsWaitForAStartUpIpi) {
    create_vp(1);
    std::vector<RegisterValue> values;
    get_registers({RegisterName::kInternalActivityState, RegisterName::kApicId}, values, 1);
    EXPECT_EQ(values[0].low, kActivityStartupSuspend);
    EXPECT_EQ(values[1].low, 1U);
}

TEST_F(AbiRegistersTest, RegistersKeepWhatIsWritten) {
    struct Sample {
        RegisterName name;
        RegisterValue value;
    };
    const Sample samples[] = {
        {RegisterName::kRax, {0x1122334455667788, 0}},
        {RegisterName{0x2000f}, {15, 0}},
        {RegisterName::kRip, {0x1000, 0}},
        {RegisterName::kXmm0, {1, 2}},
        {RegisterName{0x3000f}, {3, 4}},
        {RegisterName::kFpMmx0, {0x8000000000000000, 0x3fff}},
        {RegisterName::kFpControlStatus, {0x0000'00'ff'0000'037f, 0}},
        {RegisterName::kCr2, {0x5000, 0}},
        {RegisterName::kCr3, {0x6000, 0}},
        {RegisterName::kCr8, {7, 0}},
        {RegisterName::kDr0, {0x7000, 0}},
        {RegisterName::kLdtr, {0x8000, 0x00820008'00000fff}},
        {RegisterName::kGdtr, {0x00ff'000000000000, 0x9000}},
        {RegisterName::kKernelGsBase, {0xa000, 0}},
        {RegisterName::kSysenterEip, {0xb000, 0}},
        {RegisterName::kLstar, {0xc000, 0}},
        {RegisterName::kPat, {0x0007040600070406, 0}},
        {RegisterName::kMtrrDefType, {0x806, 0}},
        {RegisterName::kMtrrPhysBase0, {0x6, 0}},
        {RegisterName::kInterruptState, {kInterruptShadow, 0}},
        {RegisterName::kSint0, {0x10031, 0}},
        {RegisterName::kGuestOsId, {0x8100, 0}},
        {RegisterName::kVpAssistPage, {0, 0}},
        {RegisterName::kStimer0Config, {2, 0}},
        {RegisterName::kDeliverabilityNotifications, {2, 0}},
    };
    for (const Sample& sample : samples) {
        EXPECT_EQ(set(sample.name, sample.value.low, sample.value.high),
                  (CallResult{0, HvStatus::kSuccess, 1}))
            << std::hex << static_cast<uint32_t>(sample.name);
        const RegisterValue got = get(sample.name);
        EXPECT_EQ(got.low, sample.value.low) << std::hex << static_cast<uint32_t>(sample.name);
        EXPECT_EQ(got.high, sample.value.high) << std::hex << static_cast<uint32_t>(sample.name);
    }
}

TEST_F(AbiRegistersTest, AListStopsAtItsFirstBadElement) {
    const CallResult result = set_registers({{RegisterName::kRax, 0, 0, {1, 0}},
                                             {RegisterName{0x12345678}, 0, 0, {2, 0}},
                                             {RegisterName{0x20001}, 0, 0, {3, 0}}});
    EXPECT_EQ(result, (CallResult{EINVAL, HvStatus::kInvalidParameter, 1}));
    EXPECT_EQ(get(RegisterName::kRax).low, 1U);
    EXPECT_EQ(get(RegisterName{0x20001}).low, 0U);
    std::vector<RegisterValue> values;
    EXPECT_EQ(get_registers({RegisterName::kRax, RegisterName{0x12345678}}, values),
              (CallResult{EINVAL, HvStatus::kInvalidParameter, 1}));
}

TEST_F(AbiRegistersTest, ImpossibleValues) {
    const CallResult refused{EINVAL, HvStatus::kInvalidRegisterValue, 0};
    EXPECT_EQ(set(RegisterName::kCr0, 0x80000000), refused);  // paging without protection
    EXPECT_EQ(set(RegisterName::kCr8, 0x10), refused);
    EXPECT_EQ(set(RegisterName::kEfer, uint64_t{1} << 40), refused);
    EXPECT_EQ(set(RegisterName::kXfem, 0), refused);
}

TEST_F(AbiRegistersTest, LongModeInAnyOrder) {
    // Code that is 64-bit before the processor is, with a batch for each.
    EXPECT_EQ(set(RegisterName::kCs, 0, 0xa09b'0008'ffffffff).error, 0);
    EXPECT_EQ(set(RegisterName::kIntermediateCr0, 0x80000011).error, 0);
    EXPECT_EQ(set(RegisterName::kEfer, 0x500).error, 0);
    EXPECT_EQ(set(RegisterName::kIntermediateCr4, 0x20).error, 0);
    EXPECT_EQ(get(RegisterName::kCr0).low, 0x80000011U);
    EXPECT_EQ(get(RegisterName::kCr4).low, 0x20U);
    EXPECT_EQ(get(RegisterName::kEfer).low, 0x500U);
    EXPECT_EQ(get(RegisterName::kCs).high, 0xa09b'0008'ffffffffU);
}

TEST_F(AbiRegistersTest, PendingEvents) {
    const RegisterValue fault = pending_exception(14, true, 6, 0x1234000);
    ASSERT_EQ(set(RegisterName::kPendingEvent0, fault.low, fault.high).error, 0);
    EXPECT_EQ(get(RegisterName::kPendingEvent0).low, fault.low);
    EXPECT_EQ(get(RegisterName::kPendingEvent0).high, fault.high);
    EXPECT_EQ(get(RegisterName::kCr2).low, 0x1234000U);
    EXPECT_EQ(get(RegisterName::kPendingInterruption).low, 0U);
    ASSERT_EQ(set(RegisterName::kPendingEvent0, 0).error, 0);
    EXPECT_EQ(get(RegisterName::kPendingEvent0).low, 0U);

    const uint64_t interrupt = pending_interruption(InterruptionType::kInterrupt, 0x31).low;
    ASSERT_EQ(set(RegisterName::kPendingInterruption, interrupt).error, 0);
    EXPECT_EQ(get(RegisterName::kPendingInterruption).low, interrupt);
}

TEST_F(AbiRegistersTest, ListsMustFitTheirPages) {
    const std::vector<RegisterName> names(257, RegisterName::kRax);
    std::vector<uint8_t> input(sizeof(VpRegistersInput) + 257 * 4);
    uint8_t output[4096];
    EXPECT_EQ(hypercall(partition, HypercallCode::kGetVpRegisters, input.data(), input.size(), 257,
                        output, sizeof(output)),
              (CallResult{EINVAL, HvStatus::kInvalidHypercallInput, 0}));
    EXPECT_EQ(hypercall(partition, HypercallCode::kGetVpRegisters, input.data(), input.size(), 0,
                        output, sizeof(output))
                  .status,
              HvStatus::kInvalidHypercallInput);
}

// ---- Others ------------------------------------------------------------------------------------

TEST_F(AbiRegistersTest, TranslatesThroughTheGuestsTables) {
    const Pages memory(8);
    ASSERT_EQ(map(0, memory, 8, kMemoryWritable), 0);
    for (uint64_t table = 0x1000; table <= 0x3000; table += 0x1000) {
        const uint64_t entry = (table + 0x1000) | 7;
        std::memcpy(memory.data() + table, &entry, sizeof(entry));
    }
    const uint64_t page = 0x5000 | 7;
    std::memcpy(memory.data() + 0x4000 + 8 * 3, &page, sizeof(page));
    ASSERT_EQ(set_registers({{RegisterName::kCr3, 0, 0, {0x1000, 0}},
                             {RegisterName::kCr0, 0, 0, {0x80000011, 0}},
                             {RegisterName::kCr4, 0, 0, {0x20, 0}},
                             {RegisterName::kEfer, 0, 0, {0x500, 0}}})
                  .error,
              0);
    TranslateInput input{.partition_id = 0,
                         .vp_index = 0,
                         .reserved = 0,
                         .flags = kTranslateValidateRead,
                         .gva_page = 3};
    TranslateOutput output{};
    const auto translate = [&] {
        return hypercall(partition, HypercallCode::kTranslateVirtualAddress, &input, sizeof(input),
                         0, &output, sizeof(output));
    };
    ASSERT_EQ(translate(), kDone);
    EXPECT_EQ(output.result, TranslateResult::kSuccess);
    EXPECT_EQ(output.gpa_page, 5U);
    input.flags = kTranslateValidateWrite | kTranslateSetPageTableBits;
    ASSERT_EQ(translate(), kDone);
    EXPECT_EQ(memory.data()[0x4018] & 0x60, 0x60);
    input.gva_page = 4;
    ASSERT_EQ(translate(), kDone);
    EXPECT_EQ(output.result, TranslateResult::kPageNotPresent);
}

TEST_F(AbiRegistersTest, CpuidResultsShow) {
    const auto read = [&](uint32_t flags) {
        struct {
            GetCpuidInput header;
            CpuidLeaf leaf;
        } input{{.partition_id = 0, .vp_index = 0, .flags = flags, .reserved = {}},
                {.eax = 0x80000002, .ecx = 0, .xfem = 0, .xss = 0}};
        CpuidValues values{};
        EXPECT_EQ(hypercall(partition, HypercallCode::kGetVpCpuidValues, &input, sizeof(input), 1,
                            &values, sizeof(values)),
                  (CallResult{0, HvStatus::kSuccess, 1}));
        return values.ebx;
    };
    RegisterCpuidResultInput input{};
    input.vp_index = kAnyVp;
    input.type = InterceptType::kCpuid;
    input.eax = 0x80000002;
    input.result[1] = {0x12345678, 0xffffffff};
    ASSERT_EQ(hypercall(partition, HypercallCode::kRegisterInterceptResult, &input, sizeof(input)),
              kDone);
    EXPECT_EQ(read(2), 0x12345678U);
    EXPECT_NE(read(0), 0x12345678U);
}

TEST_F(AbiRegistersTest, InterceptsThatKvmCannotGiveAreRefused) {
    const auto install = [&](InterceptType type, uint64_t parameter, uint32_t mask) {
        const InstallInterceptInput input{
            .partition_id = 0, .access_mask = mask, .type = type, .parameter = parameter};
        return hypercall(partition, HypercallCode::kInstallIntercept, &input, sizeof(input)).status;
    };
    EXPECT_EQ(install(InterceptType::kIoPort, 0x80, kInterceptRead), HvStatus::kSuccess);
    EXPECT_EQ(install(InterceptType::kMsr, 0x10, kInterceptRead), HvStatus::kSuccess);
    EXPECT_EQ(install(InterceptType::kException, 1, kInterceptExecute), HvStatus::kSuccess);
    EXPECT_EQ(install(InterceptType::kException, 14, kInterceptExecute),
              HvStatus::kOperationFailed);
    EXPECT_EQ(install(InterceptType::kCpuid, 1, kInterceptExecute), HvStatus::kOperationFailed);
    EXPECT_EQ(install(InterceptType::kMsr, 0x10, 0x10), HvStatus::kInvalidParameter);
}

TEST_F(AbiRegistersTest, MessagesLandInTheGuestsPage) {
    const Pages memory(8);
    ASSERT_EQ(map(0, memory, 8, kMemoryWritable), 0);
    struct {
        uint64_t partition_id = 0;
        uint32_t vp_index = 0;
        uint32_t vtl = 0;
        uint32_t sint = 2;
        uint8_t message[256] = {};
        uint32_t reserved = 0;
    } input;
    static_assert(sizeof(input) == 280);
    input.message[0] = 0x42;
    input.message[16] = 0x43;
    const auto post = [&] {
        return hypercall(partition, HypercallCode::kPostMessageDirect, &input, sizeof(input))
            .status;
    };
    EXPECT_EQ(post(), HvStatus::kInvalidVpState);
    ASSERT_EQ(set(RegisterName::kScontrol, 1).error, 0);
    ASSERT_EQ(set(RegisterName::kSimp, 0x3001).error, 0);
    EXPECT_EQ(post(), HvStatus::kSuccess);
    EXPECT_EQ(memory.data()[0x3200], 0x42);
    EXPECT_EQ(memory.data()[0x3210], 0x43);
    EXPECT_EQ(post(), HvStatus::kInsufficientBuffers);
    EXPECT_EQ(memory.data()[0x3205] & 1, 1);  // one more is pending
}

}  // namespace
}  // namespace halcyon::mshv
