/// What GET_VP_STATE and SET_VP_STATE carry, and who gets an interrupt.
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "tests/mshv-emulator/abi_status_fixture.h"

namespace halcyon::mshv {
namespace {

class AbiVpStateTest : public AbiStatusTest {
protected:
    void SetUp() override {
        AbiStatusTest::SetUp();
        if (!IsSkipped() && !HasFatalFailure()) {
            create_vp(0);
        }
    }
    int state(unsigned long request, VpStateType type, const Pages& buffer, size_t pages,
              uint32_t* size = nullptr) {
        GetSetVpState argument{};
        argument.type = type;
        argument.buffer_size = static_cast<uint32_t>(pages * kHvPageSize);
        argument.buffer_pointer = buffer.address();
        const int error = call(vps[0], request, &argument);
        if (size != nullptr) {
            *size = argument.buffer_size;
        }
        return error;
    }
};

TEST_F(AbiVpStateTest, LapicKeepsWhatIsWritten) {
    const Pages buffer(1);
    ASSERT_EQ(state(kIoctlGetVpState, VpStateType::kLapic, buffer, 1), 0);
    LapicState lapic{};
    std::memcpy(&lapic, buffer.data(), sizeof(lapic));
    EXPECT_EQ(lapic.apic_id, 0U);
    EXPECT_EQ(lapic.spurious_vector, 0xffU);
    EXPECT_EQ(lapic.lvt_lint0, 0x10000U);
    lapic.lvt_lint0 = 0x700;
    lapic.lvt_lint1 = 0x400;
    std::memcpy(buffer.data(), &lapic, sizeof(lapic));
    ASSERT_EQ(state(kIoctlSetVpState, VpStateType::kLapic, buffer, 1), 0);
    std::memset(buffer.data(), 0, kHvPageSize);
    ASSERT_EQ(state(kIoctlGetVpState, VpStateType::kLapic, buffer, 1), 0);
    LapicState again{};
    std::memcpy(&again, buffer.data(), sizeof(again));
    EXPECT_EQ(std::memcmp(&lapic, &again, sizeof(lapic)), 0);
}

TEST_F(AbiVpStateTest, XsaveIsCompactedAndComesBack) {
    const Pages buffer(8);
    ASSERT_EQ(set(RegisterName{0x30003}, 0x1111, 0x2222).error, 0);  // XMM3
    ASSERT_EQ(state(kIoctlGetVpState, VpStateType::kXsave, buffer, 8), 0);
    EXPECT_EQ(buffer.data()[527] & 0x80, 0x80);
    uint64_t xmm3 = 0;
    std::memcpy(&xmm3, buffer.data() + 160 + 3 * 16, sizeof(xmm3));
    EXPECT_EQ(xmm3, 0x1111U);
    xmm3 = 0x3333;
    std::memcpy(buffer.data() + 160 + 3 * 16, &xmm3, sizeof(xmm3));
    ASSERT_EQ(state(kIoctlSetVpState, VpStateType::kXsave, buffer, 8), 0);
    EXPECT_EQ(get(RegisterName{0x30003}).low, 0x3333U);
    EXPECT_EQ(get(RegisterName{0x30003}).high, 0x2222U);
}

TEST_F(AbiVpStateTest, TimersKeepWhatIsWritten) {
    const Pages buffer(1);
    for (size_t i = 0; i < 200; ++i) {
        buffer.data()[i] = static_cast<uint8_t>(i);
    }
    ASSERT_EQ(state(kIoctlSetVpState, VpStateType::kSyntheticTimers, buffer, 1), 0);
    std::memset(buffer.data(), 0, kHvPageSize);
    ASSERT_EQ(state(kIoctlGetVpState, VpStateType::kSyntheticTimers, buffer, 1), 0);
    EXPECT_EQ(buffer.data()[199], 199);
    EXPECT_EQ(get(RegisterName::kStimer0Config).low, 0x0f0e0d0c0b0a0908U);
}

TEST_F(AbiVpStateTest, AnUnwritableBuffer) {
    GetSetVpState argument{};
    argument.buffer_size = kHvPageSize;
    argument.buffer_pointer = 0x10000;  // nothing is there
    EXPECT_EQ(call(vps[0], kIoctlGetVpState, &argument), EFAULT);
}

// ---- Interrupts --------------------------------------------------------------------------------

class Event {
public:
    ~Event() { close(fd_); }
    [[nodiscard]] int fd() const { return fd_; }

private:
    int fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
};

TEST_F(AbiVpStateTest, IrqfdsInterruptWhoIsRouted) {
    const Pages buffer(1);
    ASSERT_EQ(state(kIoctlGetVpState, VpStateType::kLapic, buffer, 1), 0);
    LapicState lapic{};
    std::memcpy(&lapic, buffer.data(), sizeof(lapic));
    lapic.spurious_vector = 0x1ff;
    std::memcpy(buffer.data(), &lapic, sizeof(lapic));
    ASSERT_EQ(state(kIoctlSetVpState, VpStateType::kLapic, buffer, 1), 0);

    const Event unrouted;
    const Event routed;
    uint64_t one = 1;
    ASSERT_EQ(write(routed.fd(), &one, sizeof(one)), 8);  // before it is assigned
    struct {
        UserIrqTableHeader header;
        UserIrqEntry entry;
    } table{{1, 0}, {7, 0xfee00000, 0, 0x45}};
    ASSERT_EQ(call(partition, kIoctlSetMsiRouting, &table), 0);
    const UserIrqfd first{.fd = routed.fd(), .resample_fd = -1, .gsi = 7, .flags = 0};
    ASSERT_EQ(call(partition, kIoctlIrqfd, &first), 0);
    const UserIrqfd second{.fd = unrouted.fd(), .resample_fd = -1, .gsi = 8, .flags = 0};
    ASSERT_EQ(call(partition, kIoctlIrqfd, &second), 0);
    ASSERT_EQ(write(unrouted.fd(), &one, sizeof(one)), 8);
    // The kernel may do both in a work item of its own.
    do {
        ASSERT_EQ(state(kIoctlGetVpState, VpStateType::kLapic, buffer, 1), 0);
        std::memcpy(&lapic, buffer.data(), sizeof(lapic));
    } while (lapic.irr[2] == 0);
    EXPECT_EQ(lapic.irr[2], 1U << 5);
    EXPECT_EQ(read(unrouted.fd(), &one, sizeof(one)), -1);
    EXPECT_EQ(errno, EAGAIN);
}

TEST_F(AbiVpStateTest, AssertChecks) {
    const auto assert_interrupt = [&](InterruptType type, uint32_t vector, uint64_t destination) {
        AssertInterruptInput input{};
        input.control = static_cast<uint64_t>(type);
        input.vector = vector;
        input.destination = destination;
        return hypercall(partition, HypercallCode::kAssertVirtualInterrupt, &input, sizeof(input))
            .status;
    };
    EXPECT_EQ(assert_interrupt(InterruptType::kFixed, 0x31, 0), HvStatus::kSuccess);
    EXPECT_EQ(assert_interrupt(InterruptType::kFixed, 3, 0), HvStatus::kInvalidParameter);
    EXPECT_EQ(assert_interrupt(InterruptType::kFixed, 0x31, 9), HvStatus::kInvalidParameter);
    EXPECT_EQ(assert_interrupt(InterruptType::kNmi, 0, 0), HvStatus::kSuccess);
    EXPECT_EQ(assert_interrupt(InterruptType::kSmi, 0, 0), HvStatus::kInvalidParameter);
}

}  // namespace
}  // namespace halcyon::mshv
