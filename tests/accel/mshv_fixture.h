/// A partition of the mshv backend on a FakeMshv, whose vCPU 0 the test runs by a script.
#pragma once

#include <initializer_list>
#include <memory>

#include "accel/mshv/mshv_accelerator.h"
#include "accel/mshv/mshv_partition.h"
#include "accel/mshv/mshv_vcpu.h"
#include "tests/accel/fake_mshv.h"

namespace halcyon::testing_support {

class MshvTest : public ::testing::Test {
protected:
    /// Call after having set up `driver`, and before anything else.
    void start(PartitionConfig config = {}) {
        guest_.reset();
        guest_ = std::make_unique<Guest>(MshvAccelerator("/dev/mshv", driver), config);
        ASSERT_TRUE(guest_->ok());
        guest_->set_registers(protected_mode_registers());
        driver.take_set_registers();
        driver.take_calls(mshv::HypercallCode::kSetVpRegisters);
        driver.take_calls(mshv::HypercallCode::kGetVpRegisters);
    }

    /// Runs vCPU 0 through these steps, then stops it by a kick, unless a step ends the run.
    RunOutcome run(std::initializer_list<FakeMshv::Step> steps) {
        driver.script.assign(steps);
        driver.script.push_back([this](mshv::Message&) {
            vcpu().set_stop();
            return -EINTR;
        });
        RunOutcome outcome = vcpu().run();
        vcpu().clear_stop();
        return outcome;
    }
    /// The same, which a kick must end.
    void run_to_kick(std::initializer_list<FakeMshv::Step> steps) {
        const RunOutcome outcome = run(steps);
        EXPECT_EQ(outcome.stop, RunStop::kKicked) << outcome.detail;
    }
    /// The same, which a fault must end; its text.
    std::string run_to_fault(std::initializer_list<FakeMshv::Step> steps) {
        const RunOutcome outcome = run(steps);
        EXPECT_EQ(outcome.stop, RunStop::kFault) << to_string(outcome.stop);
        EXPECT_EQ(outcome.detail.find('\n'), std::string::npos);
        return outcome.detail;
    }

    [[nodiscard]] Guest& guest() { return *guest_; }
    [[nodiscard]] TestIo& io() { return guest_->io(); }
    [[nodiscard]] MshvVcpu& vcpu(size_t index = 0) {
        return static_cast<MshvVcpu&>(guest_->vcpu(index));
    }
    [[nodiscard]] MshvPartition& partition() {
        return static_cast<MshvPartition&>(guest_->partition());
    }
    [[nodiscard]] uint64_t gpr(Gpr index) {
        return driver
            .reg(mshv::RegisterName{static_cast<uint32_t>(mshv::RegisterName::kRax) + index})
            .low;
    }
    void set_gpr(Gpr index, uint64_t value) {
        driver.set_reg(mshv::RegisterName{static_cast<uint32_t>(mshv::RegisterName::kRax) + index},
                       value);
    }
    [[nodiscard]] uint64_t rip() { return driver.reg(mshv::RegisterName::kRip).low; }
    size_t register_hypercalls() {
        return driver.take_calls(mshv::HypercallCode::kSetVpRegisters) +
               driver.take_calls(mshv::HypercallCode::kGetVpRegisters);
    }

    FakeMshv driver;

private:
    std::unique_ptr<Guest> guest_;
};

}  // namespace halcyon::testing_support
