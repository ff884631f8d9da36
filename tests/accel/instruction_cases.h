/// Makes cases of the differential test of generated encodings: segments, registers and memory, so
/// that an operand is mostly where it can be used and sometimes where it faults.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "accel/vcpu.h"
#include "tests/accel/instruction_fake_bus.h"
#include "tests/accel/instruction_generator.h"
#include "tests/accel/instruction_native.h"

namespace halcyon::testing_support {

constexpr uint64_t mask_of_bits(unsigned bits) {
    return ~uint64_t{0} >> (64 - bits);
}

/// Flags of the cases (Intel SDM 1 3.4.3).
inline constexpr uint64_t kStatusFlags = 0x8d5;
inline constexpr uint64_t kDirectionFlag = 0x400;

/// How the segments are for a while, on both sides.
struct Segments {
    NativeSegments native;
    std::array<SegmentRegister, 6> executor;
};

/// One generated case with everything it starts from.
struct Case {
    Encoding encoding;
    NativeRegisters registers;
    uint32_t at = 0;  ///< of the code page
};

/// Writes to the bus and to the processor's memory alike. Both outlive it.
class CaseMaker {
public:
    CaseMaker(uint64_t seed, NativeProcessor& native, FakeBus& bus);

    void choose_segments(unsigned code_bits, bool local);
    /// False when this draw is of no use.
    bool make_case(const Form& form, Case& made);

    [[nodiscard]] const Segments& segments() const { return segments_; }
    /// Whether the processor is one of those that the executor follows where makers differ.
    [[nodiscard]] bool intel() const { return intel_; }
    [[nodiscard]] VcpuRegisters executor_registers(const Case& made) const;
    /// Flags that the instruction leaves undefined, for the count or result at hand.
    [[nodiscard]] static uint64_t undefined_flags(const Case& made);
    [[nodiscard]] std::string describe(const Case& made) const;

private:
    [[nodiscard]] const SegmentRegister& segment(unsigned index) const {
        return segments_.executor.at(index);
    }
    void choose_local_segments(unsigned code_bits);
    NativeDescriptor random_window(bool stack);

    void fill_registers(Case& made);
    uint64_t random_place();
    bool place_operand(Case& made);
    bool solve(Case& made, uint64_t offset);
    void point_register(Case& made, unsigned index, unsigned through, uint64_t linear,
                        unsigned bits);
    bool prepare_role(Case& made);
    void prepare_string(Case& made);
    bool prepare_branch(Case& made, uint64_t linear);
    void fill_both(uint64_t linear, std::span<const std::byte> bytes);
    [[nodiscard]] uint64_t operand_place(const Case& made) const;

    Random random_;
    NativeProcessor& native_;
    FakeBus& bus_;
    Segments segments_;
    const bool intel_;
};

}  // namespace halcyon::testing_support
