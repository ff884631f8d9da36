/// A fixture for tests of single instructions: registers for each processor mode, memory at address
/// 0, and the code given with each run.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <vector>

#include <gtest/gtest.h>

#include "tests/accel/instruction_fake_bus.h"

namespace halcyon::testing_support {

class InstructionGuest : public ::testing::Test {
protected:
    using Access = FakeBus::Access;
    using Outcome = mshv::InstructionResult::Outcome;
    using Result = mshv::InstructionResult;

    static constexpr uint64_t kCodeAt = 0x1000;
    static constexpr uint64_t kDataAt = 0x4000;
    static constexpr uint64_t kMemorySize = 0x20000;
    // Vectors (Intel SDM 3A table 6-1).
    static constexpr uint8_t kUndefinedOpcode = 6;
    static constexpr uint8_t kNoDevice = 7;
    static constexpr uint8_t kStackFault = 12;
    static constexpr uint8_t kProtection = 13;
    static constexpr uint8_t kAlignment = 17;
    // RFLAGS.
    static constexpr uint64_t kCarry = 1;
    static constexpr uint64_t kZero = 0x40;
    static constexpr uint64_t kTrap = 0x100;
    static constexpr uint64_t kDown = 0x400;
    static constexpr uint64_t kIoPrivilege3 = 0x3000;
    static constexpr uint64_t kResume = 0x10000;
    static constexpr uint64_t kVirtual8086 = 0x20000;
    static constexpr uint64_t kAlignmentCheck = 0x40000;
    // Attributes of segments.
    static constexpr uint16_t kData32 = 0xc093;
    static constexpr uint16_t kData16 = 0x0093;
    static constexpr uint16_t kCode64 = 0xa09b;
    static constexpr uint16_t kCode32 = 0xc09b;
    static constexpr uint16_t kCode16 = 0x009b;

    InstructionGuest() {
        use_long_mode();
        bus.user = false;
    }

    void use_long_mode() { use_flat(kCode64, 0x80050033, 0xd00); }
    void use_protected_mode() { use_flat(kCode32, 0x33, 0); }
    void use_real_mode() { use_16bit(0x30, 0x2); }
    void use_virtual8086_mode() { use_16bit(0x33, kVirtual8086 | 0x2); }

    Result run(std::initializer_list<unsigned> code) {
        std::vector<std::byte> bytes;
        for (const unsigned byte : code) {
            bytes.push_back(static_cast<std::byte>(byte));
        }
        before = registers;
        return mshv::execute_instruction(registers, bytes, bus);
    }

    /// Runs what has to be done to its end.
    void expect_done(std::initializer_list<unsigned> code) {
        const Result result = run(code);
        EXPECT_EQ(result.outcome, Outcome::kDone)
            << result.detail << ", vector " << unsigned{result.exception.vector};
        EXPECT_EQ(registers.rip, before.rip + code.size());
    }

    /// Nothing but RFLAGS.RF has changed.
    void expect_exception(std::initializer_list<unsigned> code, uint8_t vector,
                          std::optional<uint32_t> error_code, uint64_t address = 0) {
        const Result result = run(code);
        EXPECT_EQ(result.outcome, Outcome::kException) << result.detail;
        EXPECT_EQ(result.exception, (mshv::GuestException{vector, error_code, address}));
        before.rflags |= kResume;
        EXPECT_EQ(registers, before);
    }

    void expect_unsupported(std::initializer_list<unsigned> code, const char* detail) {
        const Result result = run(code);
        EXPECT_EQ(result.outcome, Outcome::kUnsupported);
        EXPECT_EQ(result.detail, detail);
        EXPECT_EQ(registers, before);
    }

    FakeBus bus{0, kMemorySize};
    VcpuRegisters registers;
    /// As they were when the last `run` began.
    VcpuRegisters before;

private:
    void use_flat(uint16_t code, uint64_t cr0, uint64_t efer) {
        const SegmentRegister data{0, 0xffffffff, 0x10, kData32};
        registers.ds = registers.es = registers.fs = registers.gs = registers.ss = data;
        registers.cs = {0, 0xffffffff, 8, code};
        registers.rip = kCodeAt;
        registers.rflags = 2;
        registers.cr0 = cr0;
        registers.cr4 = 0x220;
        registers.efer = efer;
        registers.gpr[kRsp] = 0x8000;
    }

    /// Code at linear kCodeAt, all data from linear kDataAt on.
    void use_16bit(uint64_t cr0, uint64_t rflags) {
        const SegmentRegister data{kDataAt, 0xffff, kDataAt >> 4, kData16};
        registers.ds = registers.es = registers.fs = registers.gs = registers.ss = data;
        registers.cs = {kCodeAt, 0xffff, kCodeAt >> 4, kCode16};
        registers.rip = 0;
        registers.rflags = rflags;
        registers.cr0 = cr0;
        registers.cr4 = 0x220;
        registers.efer = 0;
        registers.gpr[kRsp] = 0x8000;
    }
};

}  // namespace halcyon::testing_support
