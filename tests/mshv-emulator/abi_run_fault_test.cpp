/// The faults of RUN_VP that the launcher can ask for, each by a run of its own.
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <string>
#include <thread>

#include "tests/mshv-emulator/abi_run_fixture.h"

namespace halcyon::mshv {
namespace {

class AbiRunFaultTest : public AbiRunTest {
protected:
    /// Skips unless the launcher puts that fault in every second time.
    void need(const std::string& fault) {
        const char* options = std::getenv("MSHV_EMULATOR");
        const std::string wanted = "fault." + fault + "=2";
        if (options == nullptr || std::string(options).find(wanted) == std::string::npos) {
            GTEST_SKIP() << "not run with " << wanted;
        }
    }
};

TEST_F(AbiRunFaultTest, SpuriousEintrLosesNothing) {
    need("spurious-eintr");
    if (IsSkipped()) {
        return;
    }
    load({0xec, 0xe6, 0x80, 0xeb, 0xfe});  // in al, dx; out 0x80, al
    EXPECT_EQ(expect_io().header.rip, kCode);
    page().gpr[0] = 0x77;
    page().dirty |= kDirtyGpr;
    step_over(1);
    EXPECT_EQ(run(), EINTR);
    EXPECT_EQ(get(static_cast<RegisterName>(0x20000)).low, 0x77U);
    EXPECT_EQ(expect_io().rax, 0x77U);
    EXPECT_EQ(run(), EINTR);
}

TEST_F(AbiRunFaultTest, EagainLosesNothing) {
    need("run-eagain");
    if (IsSkipped()) {
        return;
    }
    load({0xe6, 0x80, 0xe6, 0x81});
    EXPECT_EQ(expect_io().port, 0x80);
    step_over(2);
    EXPECT_EQ(run(), EAGAIN);
    EXPECT_EQ(expect_io().port, 0x81);
}

TEST_F(AbiRunFaultTest, InstructionBytesAreMissing) {
    need("no-instruction-bytes");
    if (IsSkipped()) {
        return;
    }
    load({0xe6, 0x80});
    EXPECT_EQ(expect_io().instruction_byte_count, kInstructionBytes);
    EXPECT_EQ(expect_io().instruction_byte_count, 0);
}

TEST_F(AbiRunFaultTest, InstructionBytesAreFew) {
    need("few-instruction-bytes");
    if (IsSkipped()) {
        return;
    }
    load({0xe6, 0x80});
    EXPECT_EQ(expect_io().instruction_byte_count, kInstructionBytes);
    const auto io = expect_io();
    EXPECT_EQ(io.instruction_byte_count, 1);
    EXPECT_EQ(io.instruction_bytes[0], 0xe6);
    EXPECT_EQ(io.instruction_bytes[1], 0);
}

TEST_F(AbiRunFaultTest, LinearAddressIsMissing) {
    need("no-gva");
    if (IsSkipped()) {
        return;
    }
    load({0xa3, 0x00, 0xa0});
    EXPECT_NE(expect<MemoryIntercept>(MessageType::kUnmappedGpa).access_info, 0);
    const auto memory = expect<MemoryIntercept>(MessageType::kUnmappedGpa);
    EXPECT_EQ(memory.access_info, 0);
    EXPECT_EQ(memory.guest_virtual_address, 0U);
    EXPECT_EQ(memory.guest_physical_address, kHole);
}

TEST_F(AbiRunFaultTest, PageIsNotValid) {
    need("page-invalid");
    if (IsSkipped()) {
        return;
    }
    load({0xe6, 0x80});
    expect_io();
    EXPECT_EQ(page().is_valid, 1);
    expect_io();
    EXPECT_EQ(page().is_valid, 0);
}

TEST_F(AbiRunFaultTest, MessageOfAnUnknownType) {
    need("unknown-message");
    if (IsSkipped()) {
        return;
    }
    load({0xe6, 0x80});
    expect_io();
    ASSERT_EQ(run(), 0);
    EXPECT_EQ(static_cast<uint32_t>(message.type), 0x8001fff0U);
    expect_io();
}

TEST_F(AbiRunFaultTest, HaltIsAMessageAndGoesOn) {
    need("halt-message");
    if (IsSkipped()) {
        return;
    }
    alarm(60);
    load({0xfb, 0xf4, 0xe6, 0x80});
    EXPECT_EQ(expect<InterceptHeader>(MessageType::kX64Halt).rip, kCode + 2);
    EXPECT_EQ(expect<InterceptHeader>(MessageType::kX64Halt).rip, kCode + 2);
    ram[2 * 4 + 1] = 0x20;  // the NMI's handler, at 0x2000
    ram[0x2000] = 0xe6;
    ram[0x2001] = 0x90;
    ASSERT_EQ(assert_interrupt(InterruptType::kNmi, 0), 0);
    EXPECT_EQ(expect_io().port, 0x90);
    alarm(0);
}

TEST_F(AbiRunFaultTest, MessageComesWithASignal) {
    need("message-with-signal");
    if (IsSkipped()) {
        return;
    }
    static std::atomic<int> signals = 0;
    struct sigaction action {};
    action.sa_handler = [](int) { ++signals; };
    sigaction(SIGUSR1, &action, nullptr);
    // Counts for as long as a byte of its memory is 0, then makes an exit.
    load({0x43, 0x80, 0x3e, 0x00, 0x30, 0x00, 0x74, 0xf8, 0xe6, 0x80});
    const auto rbx = static_cast<RegisterName>(0x20003);
    unsigned with_message = 0;
    for (int i = 0; i < 10; ++i) {
        ram[0x3000] = 0;
        ASSERT_EQ(set(RegisterName::kRip, kCode), 0);
        std::atomic<int> result = -1;
        std::thread vcpu([this, &result] { result = run(); });
        const uint64_t before = get(rbx).low;
        while (get(rbx).low == before) {
        }
        const int sent = signals;
        pthread_kill(vcpu.native_handle(), SIGUSR1);
        ram[0x3000] = 1;
        vcpu.join();
        EXPECT_EQ(signals, sent + 1);
        EXPECT_TRUE(result == 0 || result == EINTR) << result;
        with_message += result == 0 ? 1 : 0;
    }
    EXPECT_GT(with_message, 0U);
}

}  // namespace
}  // namespace halcyon::mshv
