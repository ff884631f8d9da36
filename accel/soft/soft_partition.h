/// SoftPartition: one VM interpreted by libx86emu.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "accel/partition.h"
#include "accel/soft/execution_token.h"
#include "accel/soft/soft_clock.h"
#include "accel/soft/soft_local_apic.h"
#include "accel/soft/soft_memory.h"

namespace halcyon {

class SoftVcpu;

/// Memory, time, the execution token and the interrupt bus between the vCPUs. Memory may be mapped
/// and unmapped at any time, also by a device that a vCPU called: the change happens while no
/// instruction executes. Mappings at or above 4 GiB are accepted but out of the guest's reach. The
/// page of the local APICs must not be mapped.
class SoftPartition final : public Partition {
public:
    static Result<std::unique_ptr<Partition>> create(const PartitionConfig& config);
    ~SoftPartition() override;

    Result<void> map_memory(GpaRange range, std::byte* host, MemoryAccess access) override;
    Result<void> unmap_memory(GpaRange range) override;
    Result<std::unique_ptr<Vcpu>> create_vcpu(VcpuIndex index, GuestIo& io) override;
    Result<void> signal_msi(const MsiMessage& message) override;
    /// Nothing to keep: the local APICs report the end of every level-triggered interrupt.
    Result<void> set_msi_routes(std::span<const MsiRoute> routes) override;
    void set_extint(bool level) override;
    Result<void> set_time_frozen(bool frozen) override;

    // For its vCPUs.
    [[nodiscard]] ExecutionToken& token() { return token_; }
    [[nodiscard]] const SoftMemory& memory() const { return memory_; }
    [[nodiscard]] const SoftClock& clock() const { return clock_; }
    [[nodiscard]] bool has_local_apics() const { return config_.local_apic; }
    [[nodiscard]] uint32_t vcpu_count() const { return config_.vcpu_count; }
    /// The 8259's INTR for a partition without local APICs. With the mutex.
    [[nodiscard]] bool extint() const { return extint_; }
    /// What `sender` wrote to its ICR. With the mutex.
    void send(const SoftVcpu& sender, const ApicCommand& command);
    void remove(const SoftVcpu& vcpu);

private:
    SoftPartition(const PartitionConfig& config, SoftMemory memory);
    void deliver(const ApicMessage& message, std::span<SoftVcpu* const> targets);

    const PartitionConfig config_;
    SoftMemory memory_;
    SoftClock clock_;
    ExecutionToken token_;
    /// By index, null where there is none; guarded by the token's mutex.
    std::vector<SoftVcpu*> vcpus_;
    bool extint_ = false;
    /// Where the search for the lowest priority begins, so that equals take turns.
    size_t arbitration_ = 0;
};

}  // namespace halcyon
