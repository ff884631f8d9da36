/// MshvPartition: one partition of the mshv driver.
#pragma once

#include <atomic>
#include <mutex>

#include "accel/mshv/mshv_eventfds.h"
#include "accel/mshv/mshv_hypercall.h"
#include "accel/mshv/mshv_memory.h"
#include "accel/partition.h"
#include "base/unique_fd.h"

namespace halcyon {

class MshvVcpu;

/// See Partition. With `local_apic`, the hypervisor has the local APICs and userspace the IOAPIC,
/// the 8259s and the 8254; without, there is no interrupt controller, and HLT ends a run.
///
/// Everything here goes through the partition's own descriptor, which works while vCPUs run; an
/// ioctl on a vCPU's descriptor would wait until it leaves MSHV_RUN_VP.
///
/// The guest's time stands still from the creation to the first run of a vCPU, then as
/// `set_time_frozen` says.
class MshvPartition final : public Partition {
public:
    /// `device_fd`: an open /dev/mshv, needed only during the call. `config` has been checked.
    static Result<std::unique_ptr<MshvPartition>> create(mshv::Driver& driver, int device_fd,
                                                         const PartitionConfig& config);
    ~MshvPartition() override;

    Result<void> map_memory(GpaRange range, std::byte* host, MemoryAccess access) override;
    Result<void> unmap_memory(GpaRange range) override;
    Result<std::unique_ptr<Vcpu>> create_vcpu(VcpuIndex index, GuestIo& io) override;
    Result<void> signal_msi(const MsiMessage& message) override;
    Result<void> set_msi_routes(std::span<const MsiRoute> routes) override;
    void set_extint(bool level) override;
    Result<void> set_time_frozen(bool frozen) override;
    [[nodiscard]] EventfdWiring* eventfds() override { return &eventfds_; }

    /// The rest is for MshvVcpu.
    [[nodiscard]] int fd() const { return fd_.get(); }
    [[nodiscard]] mshv::Driver& driver() const { return driver_; }
    [[nodiscard]] const PartitionConfig& config() const { return config_; }
    [[nodiscard]] const mshv::MemoryMap& memory() const { return memory_; }
    /// Bytes of a VP's XSAVE state, in whole pages.
    [[nodiscard]] size_t xsave_size() const { return xsave_size_; }
    /// The level of the 8259's INTR output.
    [[nodiscard]] const std::atomic<bool>& extint_level() const { return extint_level_; }
    /// Lets time begin if it never has. From each vCPU's thread at the start of a run.
    Result<void> begin_time() {
        return time_.load(std::memory_order_acquire) == Time::kNotBegun ? begin_time_now()
                                                                        : Result<void>();
    }
    [[nodiscard]] bool time_stands() const {
        return time_.load(std::memory_order_acquire) != Time::kRuns;
    }
    /// Called by the vCPU's destructor.
    void forget_vcpu(MshvVcpu& vcpu);

    /// The partition's hypercalls, for statistics and tests.
    [[nodiscard]] const mshv::HypercallCounters& hypercalls() const { return port_.counters(); }

private:
    enum class Time { kNotBegun, kRuns, kFrozen };

    MshvPartition(mshv::Driver& driver, UniqueFd fd, const PartitionConfig& config);
    Result<void> set_up(int device_fd);
    Result<void> begin_time_now();
    Result<void> set_time_locked(Time time);

    mshv::Driver& driver_;
    const UniqueFd fd_;
    const PartitionConfig config_;
    mshv::HypercallPort port_;
    mshv::MemoryMap memory_;
    mshv::MshvEventfds eventfds_;
    size_t xsave_size_ = 0;
    std::atomic<bool> extint_level_{false};

    /// Orders the changes of the partition's time: the driver does not take two at once.
    std::mutex time_mutex_;
    std::atomic<Time> time_{Time::kNotBegun};
    /// Guards vcpus_. Never held with another lock of the partition.
    std::mutex vcpus_mutex_;
    std::vector<MshvVcpu*> vcpus_;
};

}  // namespace halcyon
