// Thousands of generated instructions, on the processor itself and in the executor: registers,
// defined flags, memory and exceptions must be the same. In 64-bit code, in flat 32-bit code, and
// in 16- and 32-bit code with segments of all kinds.
#include <cpuid.h>

#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>

#include <gtest/gtest.h>

#include "tests/accel/instruction_cases.h"

namespace halcyon::testing_support {

namespace {

using mshv::InstructionResult;
using Outcome = InstructionResult::Outcome;

constexpr uint64_t kResumeFlag = 0x10000;

/// For longer runs and others: HALCYON_SEED, and HALCYON_ROUNDS, which multiplies.
uint64_t from_environment(const char* name, uint64_t otherwise) {
    const char* const text = std::getenv(name);
    return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

bool supported_here(const Form& form) {
    const std::string_view name = form.name;
    unsigned eax = 0;
    unsigned ebx = 0;
    unsigned ecx = 0;
    unsigned edx = 0;
    if (name == "MOVBE") {
        return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_MOVBE) != 0;
    }
    if (name == "MOVDIRI") {
        return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_MOVDIRI) != 0;
    }
    return true;
}

class InstructionDifferential : public ::testing::Test {
protected:
    void SetUp() override {
        if (const auto reason = NativeProcessor::unavailable()) {
            GTEST_SKIP() << *reason;
        }
        bus_.logs = false;
        native_.emplace();
        maker_.emplace(seed_, *native_, bus_);
    }

    void TearDown() override {
        if (native_) {
            NativeProcessor::set_gs_base(0);
        }
    }

    void compare_many(unsigned code_bits, uint64_t rounds, bool local_segments);

private:
    void compare(const Case& made);
    void compare_registers(const Case& made, const VcpuRegisters& executed,
                           const NativeRegisters& ran, bool faulted, bool in_batches);
    void compare_faults(const InstructionResult& result, const VcpuRegisters& executed,
                        const NativeFault& fault) const;

    const uint64_t seed_ = from_environment("HALCYON_SEED", 20251);
    std::optional<NativeProcessor> native_;
    FakeBus bus_{NativeProcessor::kData, NativeProcessor::kDataSize};
    std::optional<CaseMaker> maker_;
    unsigned exceptions_ = 0;
};

void InstructionDifferential::compare_registers(const Case& made, const VcpuRegisters& executed,
                                                const NativeRegisters& ran, bool faulted,
                                                bool in_batches) {
    const bool long_mode = made.encoding.code_bits == 64;
    // Undefined are the upper halves in 16- and 32-bit code, and of registers that a string
    // instruction with 32-bit addresses was about to write.
    const bool string = made.encoding.form->role == Role::kString;
    const bool halves = !long_mode || (faulted && string && made.encoding.address_bits == 32);
    const uint64_t mask = mask_of_bits(halves ? 32 : 64);
    // A POPA that faults may have loaded some registers.
    const bool partial = faulted && std::string_view(made.encoding.form->name) == "POPA";
    for (unsigned i = 0; i < (long_mode ? 16 : 8) && !partial; ++i) {
        EXPECT_EQ(executed.gpr.at(i) & mask, ran.gpr.at(i) & mask) << "register " << i;
    }
    // A comparison that faults has the flags of its start, which for the executor is a batch's.
    const uint64_t undefined =
        faulted && in_batches ? kStatusFlags : CaseMaker::undefined_flags(made);
    const uint64_t flags = (kStatusFlags | kDirectionFlag) & ~undefined;
    EXPECT_EQ(executed.rflags & flags, ran.rflags & flags) << "flags";
    EXPECT_EQ(std::memcmp(bus_.xmm.data(), ran.xmm.data(), sizeof(ran.xmm)), 0) << "XMM";
    EXPECT_EQ(std::memcmp(bus_.mm.data(), ran.mmx.data(), sizeof(ran.mmx)), 0) << "MMX";
    EXPECT_EQ(std::memcmp(bus_.memory().data(), native_->data().data(), bus_.memory().size()), 0)
        << "memory";
}

void InstructionDifferential::compare_faults(const InstructionResult& result,
                                             const VcpuRegisters& executed,
                                             const NativeFault& fault) const {
    EXPECT_EQ(executed.rip, fault.rip);
    EXPECT_NE(executed.rflags & kResumeFlag, 0U);
    if (!maker_->intel()) {
        return;
    }
    EXPECT_EQ(result.exception.vector, fault.vector);
    EXPECT_EQ(result.exception.error_code.value_or(0), fault.error_code);
    if (fault.vector == FakeBus::kPageFault) {
        EXPECT_EQ(result.exception.address, fault.address);
    }
}

void InstructionDifferential::compare(const Case& made) {
    const auto bytes = std::span(made.encoding.bytes).first(made.encoding.size);
    VcpuRegisters executed = maker_->executor_registers(made);
    const uint64_t start = executed.rip;
    bus_.xmm = made.registers.xmm;
    bus_.mm = made.registers.mmx;
    InstructionResult result;
    unsigned calls = 0;
    do {
        result = mshv::execute_instruction(executed, bytes, bus_);
    } while (result.outcome == Outcome::kDone && executed.rip == start && ++calls < 10);

    NativeRegisters ran = made.registers;
    const auto fault = NativeProcessor::run(ran, maker_->segments().native, bytes, made.at);
    if (fault) {
        ++exceptions_;
        ASSERT_EQ(result.outcome, Outcome::kException)
            << result.detail << ", exception " << fault->vector << " at RIP " << fault->rip
            << " for " << fault->address;
        EXPECT_EQ(executed.rip, start);
        compare_faults(result, executed, *fault);
    } else {
        ASSERT_EQ(result.outcome, Outcome::kDone)
            << result.detail << ", vector " << unsigned{result.exception.vector};
        const uint64_t target = NativeProcessor::branch_target(made.encoding.code_bits) -
                                maker_->segments().native.code_base;
        EXPECT_EQ(executed.rip, ran.branched != 0 ? target : start + bytes.size());
    }
    compare_registers(made, executed, ran, fault.has_value(), calls > 0);
    EXPECT_FALSE(bus_.misused);
}

void InstructionDifferential::compare_many(unsigned code_bits, uint64_t rounds,
                                           bool local_segments) {
    unsigned compared = 0;
    rounds *= from_environment("HALCYON_ROUNDS", 1);
    for (uint64_t round = 0; round < rounds; ++round) {
        for (const Form& form : all_forms()) {
            const bool other_mode = (form.variation & (code_bits == 64 ? kNot64 : kOnly64)) != 0;
            if (other_mode || !supported_here(form)) {
                continue;
            }
            if (compared % 32 == 0) {
                maker_->choose_segments(code_bits, local_segments);
            }
            Case made;
            if (!maker_->make_case(form, made)) {
                continue;
            }
            compare(made);
            ++compared;
            if (HasFailure()) {
                FAIL() << "seed " << seed_ << ", " << maker_->describe(made);
            }
        }
    }
    // Both kinds of end were seen often.
    EXPECT_GT(compared, rounds * 200);
    EXPECT_GT(exceptions_, compared / 50);
    EXPECT_LT(exceptions_, compared * 3 / 4);
    RecordProperty("instructions", static_cast<int>(compared));
    RecordProperty("exceptions", static_cast<int>(exceptions_));
}

TEST_F(InstructionDifferential, In64BitCodeIsAsTheProcessor) {
    compare_many(64, 100, false);
}

TEST_F(InstructionDifferential, InFlat32BitCodeIsAsTheProcessor) {
    compare_many(32, 40, false);
}

TEST_F(InstructionDifferential, In32BitCodeWithSegmentsIsAsTheProcessor) {
    if (!NativeProcessor::has_local_descriptors()) {
        GTEST_SKIP() << "the kernel has no modify_ldt";
    }
    compare_many(32, 60, true);
}

TEST_F(InstructionDifferential, In16BitCodeWithSegmentsIsAsTheProcessor) {
    if (!NativeProcessor::has_local_descriptors()) {
        GTEST_SKIP() << "the kernel has no modify_ldt";
    }
    compare_many(16, 60, true);
}

}  // namespace

}  // namespace halcyon::testing_support
