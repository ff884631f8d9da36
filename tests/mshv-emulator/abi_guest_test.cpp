/// What a guest meets: the hypervisor's MSRs and CPUID leaves, MSRs that there are not, pages that
/// it makes dirty.
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "accel/mshv/mshv_messages.h"
#include "tests/mshv-emulator/abi_status_fixture.h"

namespace halcyon::mshv {
namespace {

constexpr uint64_t kCode = 0x1000;
constexpr uint64_t kHandler = 0x1800;
constexpr uint64_t kResult = 0x2000;
constexpr uint64_t kOverlay = 0x4000;
constexpr uint16_t kDonePort = 0x80;
constexpr uint16_t kFaultPort = 0x81;
constexpr size_t kMemoryPages = 16;

/// A real-mode guest in 64 KiB; a #GP ends it at kFaultPort.
class AbiGuestTest : public AbiStatusTest {
protected:
    /// A partition whose guests have these synthetic features, with VP 0.
    void start(uint64_t features, uint64_t msr_action) {
        for (const int vp : vps) {
            close(vp);
        }
        vps.clear();
        make_partition(kPartitionLapic | kPartitionX2apic);
        ASSERT_EQ(set_property(PartitionProperty::kSyntheticProcFeatures, features), kDone);
        ASSERT_EQ(call(partition, kIoctlInitializePartition, nullptr), 0);
        ASSERT_EQ(set_property(PartitionProperty::kUnimplementedMsrAction, msr_action), kDone);
        ASSERT_EQ(map(0, memory, kMemoryPages, kMemoryWritable | kMemoryExecutable), 0);
        create_vp(0);
        const uint32_t vector = kHandler;
        std::memcpy(memory.data() + 13 * sizeof(vector), &vector, sizeof(vector));
        const uint8_t handler[] = {0xe6, kFaultPort};  // out kFaultPort, al
        std::memcpy(memory.data() + kHandler, handler, sizeof(handler));
    }
    /// Runs `code`, then "out kDonePort, al": gives the port that ended it, 0 for another message.
    uint16_t run(std::vector<uint8_t> code) {
        code.insert(code.end(), {0xe6, kDonePort});
        std::memcpy(memory.data() + kCode, code.data(), code.size());
        EXPECT_EQ(set_registers({{RegisterName::kCs, 0, 0, {0, 0x009b0000'0000ffff}},
                                 {RegisterName{0x20004}, 0, 0, {0x8000, 0}},
                                 {RegisterName::kRip, 0, 0, {kCode, 0}}})
                      .error,
                  0);
        Message message{};
        if (ioctl(vps[0], kIoctlRunVp, &message) != 0 ||
            message.type != MessageType::kX64IoPortIntercept) {
            return 0;
        }
        IoPortIntercept intercept{};
        std::memcpy(&intercept, message.payload, sizeof(intercept));
        return intercept.port;
    }
    static void append32(std::vector<uint8_t>& code, uint32_t value) {
        for (int shift = 0; shift < 32; shift += 8) {
            code.push_back(static_cast<uint8_t>(value >> shift));
        }
    }
    static std::vector<uint8_t> load_ecx(uint32_t msr) {
        std::vector<uint8_t> code = {0x66, 0xb9};  // mov ecx, msr
        append32(code, msr);
        return code;
    }
    /// RDMSR: the value, and the port that ended the run.
    uint16_t rdmsr(uint32_t msr, uint64_t& value) {
        std::vector<uint8_t> code = load_ecx(msr);
        code.insert(code.end(), {0x0f, 0x32,                      // rdmsr
                                 0x66, 0xa3, 0x00, 0x20,          // mov [kResult], eax
                                 0x66, 0x89, 0x16, 0x04, 0x20});  // mov [kResult + 4], edx
        const uint16_t port = run(code);
        std::memcpy(&value, memory.data() + kResult, sizeof(value));
        return port;
    }
    uint16_t wrmsr(uint32_t msr, uint64_t value) {
        std::vector<uint8_t> code = load_ecx(msr);
        code.insert(code.end(), {0x66, 0xb8});  // mov eax
        append32(code, static_cast<uint32_t>(value));
        code.insert(code.end(), {0x66, 0xba});  // mov edx
        append32(code, static_cast<uint32_t>(value >> 32));
        code.insert(code.end(), {0x0f, 0x30});  // wrmsr
        return run(code);
    }

    Pages memory{kMemoryPages};
};

constexpr uint64_t kAllFeatures = ~uint64_t{0};
constexpr uint32_t kUnknownMsr = 0x0badc0de;

TEST_F(AbiGuestTest, UnknownMsrsAreIgnoredWhenThePartitionSaysSo) {
    start(0, 1);
    uint64_t value = 1;
    EXPECT_EQ(rdmsr(kUnknownMsr, value), kDonePort);
    EXPECT_EQ(value, 0U);
    EXPECT_EQ(wrmsr(kUnknownMsr, 1), kDonePort);
}

TEST_F(AbiGuestTest, UnknownMsrsAreFaultsOtherwise) {
    start(0, 0);
    uint64_t value = 0;
    EXPECT_EQ(rdmsr(kUnknownMsr, value), kFaultPort);
    EXPECT_EQ(wrmsr(kUnknownMsr, 1), kFaultPort);
}

TEST_F(AbiGuestTest, TheHypervisorsMsrsNeedTheirFeature) {
    start(0, 0);
    uint64_t value = 0;
    EXPECT_EQ(rdmsr(0x40000002, value), kFaultPort);
    EXPECT_EQ(rdmsr(0x40000020, value), kFaultPort);
}

TEST_F(AbiGuestTest, ReferenceTimeGoesOn) {
    start(kAllFeatures, 0);
    uint64_t before = 0;
    uint64_t after = 0;
    ASSERT_EQ(rdmsr(0x40000020, before), kDonePort);
    ASSERT_EQ(rdmsr(0x40000020, after), kDonePort);
    EXPECT_GT(before, 0U);
    EXPECT_GE(after, before);
    EXPECT_EQ(wrmsr(0x40000020, 1), kFaultPort);
}

TEST_F(AbiGuestTest, FrequenciesAreThePropertys) {
    start(kAllFeatures, 0);
    uint64_t property = 0;
    ASSERT_EQ(get_property(partition, PartitionProperty::kProcessorClockFrequency, property),
              kDone);
    uint64_t value = 0;
    ASSERT_EQ(rdmsr(0x40000022, value), kDonePort);
    EXPECT_EQ(value, property);
}

TEST_F(AbiGuestTest, TheHypercallPageComesAfterTheGuestsId) {
    start(kAllFeatures, 0);
    ASSERT_EQ(wrmsr(0x40000001, kOverlay | 1), kDonePort);
    EXPECT_EQ(memory.data()[kOverlay], 0);
    ASSERT_EQ(wrmsr(0x40000000, 0x8100), kDonePort);
    ASSERT_EQ(wrmsr(0x40000001, kOverlay | 1), kDonePort);
    EXPECT_NE(memory.data()[kOverlay], 0);
    EXPECT_EQ(get(RegisterName::kGuestOsId).low, 0x8100U);
    EXPECT_EQ(get(RegisterName::kHypercall).low, kOverlay | 1);
}

TEST_F(AbiGuestTest, TheTscPageShowsReferenceTime) {
    start(kAllFeatures, 0);
    ASSERT_EQ(wrmsr(0x40000021, kOverlay | 1), kDonePort);
    uint32_t sequence = 0;
    uint64_t scale = 0;
    int64_t offset = 0;
    std::memcpy(&sequence, memory.data() + kOverlay, sizeof(sequence));
    std::memcpy(&scale, memory.data() + kOverlay + 8, sizeof(scale));
    std::memcpy(&offset, memory.data() + kOverlay + 16, sizeof(offset));
    EXPECT_NE(sequence, 0U);
    uint64_t before = 0;
    uint64_t after = 0;
    get_property(partition, PartitionProperty::kReferenceTime, before);
    const uint64_t tsc = get(RegisterName::kTsc).low;
    get_property(partition, PartitionProperty::kReferenceTime, after);
    __extension__ using Wide = unsigned __int128;
    const uint64_t shown =
        static_cast<uint64_t>(Wide{tsc} * scale >> 64) + static_cast<uint64_t>(offset);
    constexpr uint64_t kMillisecond = 10'000;
    EXPECT_GE(shown + kMillisecond, before);
    EXPECT_LE(shown, after + kMillisecond);
}

TEST_F(AbiGuestTest, CpuidSaysWhoseGuestItIs) {
    const std::vector<uint8_t> code = {0x66, 0xb8, 0,    0,    0,   0x40,  // mov eax, 40000000h
                                       0x0f, 0xa2,                         // cpuid
                                       0x66, 0x89, 0x1e, 0x00, 0x20};      // mov [kResult], ebx
    start(kAllFeatures, 0);
    ASSERT_EQ(run(code), kDonePort);
    EXPECT_EQ(std::memcmp(memory.data() + kResult, "Micr", 4), 0);
    start(0, 0);
    ASSERT_EQ(run(code), kDonePort);
    EXPECT_NE(std::memcmp(memory.data() + kResult, "Micr", 4), 0);
    EXPECT_NE(std::memcmp(memory.data() + kResult, "KVMK", 4), 0);
}

TEST_F(AbiGuestTest, WritesMakePagesDirty) {
    start(0, 0);
    ASSERT_EQ(set_property(PartitionProperty::kGpaPageAccessTracking, 1), kDone);
    uint16_t bits = 0;
    AccessBitmap request{};
    request.type = AccessBitmapType::kDirty;
    request.operation = AccessBitmapOperation::kClear;
    request.page_count = kMemoryPages;
    request.bitmap_pointer = reinterpret_cast<uint64_t>(&bits);
    ASSERT_EQ(call(partition, kIoctlGetGpapAccessBitmap, &request), 0);
    ASSERT_EQ(run({0xa2, 0x00, 0x50, 0xa2, 0x00, 0x90}), kDonePort);  // mov [5000h], al; [9000h]
    ASSERT_EQ(call(partition, kIoctlGetGpapAccessBitmap, &request), 0);
    EXPECT_EQ(bits, 1U << 5 | 1U << 9);
    ASSERT_EQ(call(partition, kIoctlGetGpapAccessBitmap, &request), 0);
    EXPECT_EQ(bits, 0U);
}

TEST_F(AbiGuestTest, AVpThatReachedNoConsistentStateSaysSo) {
    start(0, 0);
    // Long mode without PAE.
    ASSERT_EQ(set_registers({{RegisterName::kIntermediateCr0, 0, 0, {0x80000011, 0}},
                             {RegisterName::kEfer, 0, 0, {0x500, 0}}})
                  .error,
              0);
    Message message{};
    ASSERT_EQ(ioctl(vps[0], kIoctlRunVp, &message), 0);
    EXPECT_EQ(message.type, MessageType::kInvalidVpRegisterValue);
}

}  // namespace
}  // namespace halcyon::mshv
