#include "tests/daemon/liar_accelerator.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "accel/run_entry.h"
#include "base/unique_fd.h"

namespace halcyon {
namespace {

constexpr const char* kFifoVariable = "HALCYON_LIAR_FIFO";

class LiarVcpu final : public Vcpu {
public:
    explicit LiarVcpu(VcpuIndex index) : fifo_(std::getenv(kFifoVariable)) {
        const std::string own = fifo_ + std::to_string(index.value());
        if (::access(own.c_str(), F_OK) == 0) {
            fifo_ = own;
        }
    }

    void attach_thread() override { target_.attach_current_thread(); }
    void detach_thread() override { target_.detach(); }

    RunOutcome run() override {
        while (!target_.is_set() || !released_) {
            if (!released_) {
                // Fails with EINTR on each kick, and is not impressed.
                released_ =
                    static_cast<bool>(UniqueFd(::open(fifo_.c_str(), O_RDONLY | O_CLOEXEC)));
            }
        }
        return {};
    }

    void set_stop() override { target_.set(); }
    void kick() override { target_.kick(); }
    void clear_stop() override { target_.clear(); }

    Result<VcpuRegisters> registers() override { return registers_; }
    Result<void> set_registers(const VcpuRegisters& registers) override {
        registers_ = registers;
        return {};
    }
    Result<void> reset() override { return {}; }

private:
    std::string fifo_;
    KickTarget target_;
    bool released_ = false;
    VcpuRegisters registers_ = reset_registers();
};

class LiarPartition final : public Partition {
public:
    Result<void> map_memory(GpaRange, std::byte*, MemoryAccess) override { return {}; }
    Result<void> unmap_memory(GpaRange) override { return {}; }
    Result<std::unique_ptr<Vcpu>> create_vcpu(VcpuIndex index, GuestIo&) override {
        return std::unique_ptr<Vcpu>(std::make_unique<LiarVcpu>(index));
    }
    Result<void> signal_msi(const MsiMessage&) override { return {}; }
    Result<void> set_msi_routes(std::span<const MsiRoute>) override { return {}; }
    void set_extint(bool) override {}
    Result<void> set_time_frozen(bool) override { return {}; }
};

}  // namespace

Result<void> LiarAccelerator::probe() const {
    if (std::getenv(kFifoVariable) == nullptr) {
        return Error(std::string(kFifoVariable) + " is not set");
    }
    return install_kick_handler();
}

Result<std::unique_ptr<Partition>> LiarAccelerator::create_partition(const PartitionConfig&) const {
    return std::unique_ptr<Partition>(std::make_unique<LiarPartition>());
}

}  // namespace halcyon
