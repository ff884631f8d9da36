// Whatever bytes in whatever state: the executor comes back with one of its outcomes, and has kept
// to its word about registers and the bus.
#include <algorithm>
#include <memory>

#include <gtest/gtest.h>

#include "tests/accel/instruction_fake_bus.h"
#include "tests/accel/instruction_generator.h"

namespace halcyon::testing_support {

namespace {

using Outcome = mshv::InstructionResult::Outcome;

class InstructionFuzz : public ::testing::Test {
protected:
    static constexpr uint64_t kBase = 0x10000;
    static constexpr uint64_t kSize = 0x10000;
    static constexpr uint64_t kSeed = 77;
    static constexpr uint64_t kResume = 0x10000;

    InstructionFuzz() {
        bus_.logs = false;
        bus_.set_rights(kBase + 0x4000, PageRights::kRead);
        bus_.set_rights(kBase + 0x8000, PageRights::kNone);
    }

    uint64_t random_address() {
        return random_.once_in(8) ? random_.interesting() : kBase + random_.below(kSize);
    }

    SegmentRegister random_segment() {
        SegmentRegister segment;
        segment.base = random_.once_in(2) ? 0 : random_address();
        segment.limit = static_cast<uint32_t>(random_.once_in(2) ? 0xffffffff : random_.bits());
        segment.selector = static_cast<uint16_t>(random_.bits());
        segment.attributes = static_cast<uint16_t>(random_.once_in(2) ? 0xc093 : random_.bits());
        return segment;
    }

    VcpuRegisters random_registers() {
        VcpuRegisters registers;
        for (uint64_t& value : registers.gpr) {
            value = random_.once_in(3) ? random_.interesting() : random_address();
        }
        registers.rip = random_address();
        registers.rflags = random_.bits() & 0x3f7fd7;
        registers.cs = random_segment();
        registers.ds = random_segment();
        registers.es = random_segment();
        registers.fs = random_segment();
        registers.gs = random_segment();
        registers.ss = random_segment();
        registers.cr0 = random_.once_in(3) ? random_.bits() : 0x80050033;
        registers.cr4 = random_.once_in(3) ? random_.bits() : 0x220;
        registers.efer = random_.once_in(2) ? 0x500 : 0;
        return registers;
    }

    /// An encoding that means something, or noise, or something that was spoilt.
    std::vector<std::byte> random_code() {
        const Form& form = all_forms()[random_.below(all_forms().size())];
        constexpr unsigned kBits[] = {16, 32, 64};
        const Encoding encoding = generate(random_, form, kBits[random_.below(3)]);
        std::vector<std::byte> code(encoding.bytes.begin(),
                                    encoding.bytes.begin() + static_cast<long>(encoding.size));
        code.resize(std::max<size_t>(code.size(), 16));
        if (random_.once_in(3)) {
            for (std::byte& byte : code) {
                byte = static_cast<std::byte>(random_.bits());
            }
        } else if (random_.once_in(3)) {
            code[random_.below(code.size())] = static_cast<std::byte>(random_.bits());
        }
        return code;
    }

    void run_one();

    Random random_{kSeed};
    FakeBus bus_{kBase, kSize};
    unsigned outcomes_[4] = {};
};

void InstructionFuzz::run_one() {
    const std::vector<std::byte> code = random_code();
    const VcpuRegisters start = random_registers();
    const uint64_t offset = start.cs.base + start.rip - kBase;
    if (offset < kSize - code.size()) {
        std::copy(code.begin(), code.end(), bus_.memory().begin() + static_cast<long>(offset));
    }
    // An exact allocation, so that a sanitizer sees a read beyond.
    const size_t given = std::min<size_t>(random_.below(17), code.size());
    const auto exact = std::make_unique<std::byte[]>(given);
    std::copy_n(code.begin(), given, exact.get());

    VcpuRegisters end = start;
    const auto result =
        mshv::execute_instruction(end, std::span<const std::byte>(exact.get(), given), bus_);
    ++outcomes_[static_cast<size_t>(result.outcome)];
    EXPECT_FALSE(bus_.misused);
    VcpuRegisters expected = start;
    switch (result.outcome) {
        case Outcome::kDone:
            // Beyond gpr, rip and rflags only a selector and its base.
            EXPECT_EQ(end.cr0, start.cr0);
            EXPECT_EQ(end.cs, start.cs);
            EXPECT_EQ(end.ds.limit, start.ds.limit);
            EXPECT_EQ(end.rflags & kResume, end.rip == start.rip ? start.rflags & kResume : 0);
            break;
        case Outcome::kException:
            EXPECT_LT(result.exception.vector, 32);
            expected.gpr = end.gpr;  // a repetition may have begun
            expected.rflags |= kResume;
            EXPECT_EQ(end, expected);
            break;
        case Outcome::kUnsupported:
            EXPECT_FALSE(result.detail.empty());
            EXPECT_EQ(end, expected);
            break;
        case Outcome::kFailed:
            FAIL() << "the bus does not fail: " << result.detail;
    }
}

TEST_F(InstructionFuzz, EveryInputHasAnOutcome) {
    constexpr unsigned kRuns = 100000;
    for (unsigned run = 0; run < kRuns && !HasFailure(); ++run) {
        SCOPED_TRACE(run);
        run_one();
    }
    EXPECT_GT(outcomes_[static_cast<size_t>(Outcome::kDone)], kRuns / 10);
    EXPECT_GT(outcomes_[static_cast<size_t>(Outcome::kException)], kRuns / 10);
    EXPECT_GT(outcomes_[static_cast<size_t>(Outcome::kUnsupported)], kRuns / 50);
}

}  // namespace

}  // namespace halcyon::testing_support
