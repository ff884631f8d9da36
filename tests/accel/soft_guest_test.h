/// A guest on the soft backend, for tests of what only it must get right by itself.
#pragma once

#include <initializer_list>

#include "accel/soft/soft_accelerator.h"
#include "tests/accel/guest_fixture.h"

namespace halcyon::testing_support {

class SoftGuestTest : public ::testing::Test {
protected:
    static constexpr uint8_t kDone[] = {0xe6, kDonePort};  // out kDonePort, al

    explicit SoftGuestTest(PartitionConfig config = {}) : guest_(accelerator_, config) {}

    /// `code`, then the end of the run.
    static Code finished(Code code) {
        code.insert(code.end(), std::begin(kDone), std::end(kDone));
        return code;
    }
    VcpuRegisters run_real(const Code& code, VcpuRegisters registers = real_mode_registers()) {
        return run(code, registers);
    }
    VcpuRegisters run_protected(const Code& code,
                                VcpuRegisters registers = protected_mode_registers()) {
        return run(code, registers);
    }
    VcpuRegisters run(const Code& code, const VcpuRegisters& registers) {
        guest_.load(kCode, finished(code));
        guest_.set_registers(registers);
        return guest_.run_to_done();
    }
    /// How the run of `code` ends by itself.
    RunOutcome outcome(const Code& code, const VcpuRegisters& registers) {
        guest_.load(kCode, code);
        guest_.set_registers(registers);
        VcpuRun run(guest_.vcpu());
        return run.wait();
    }
    /// Lets interrupt `vector` of real mode end the run, at kHandler + 16 * vector.
    void catch_interrupt(uint8_t vector) {
        const auto handler = static_cast<uint16_t>(kHandler + 16 * vector);
        guest_.load(handler, finished({}));
        guest_.write<uint16_t>(vector * 4, handler);
        guest_.write<uint16_t>(vector * 4 + 2, 0);
    }
    static uint64_t after_handler(uint8_t vector) { return kHandler + 16u * vector + 2; }

    SoftAccelerator accelerator_;
    Guest guest_;
};

}  // namespace halcyon::testing_support
