/// An accelerator whose vCPUs do what a test tells them, on the machine's real threads.
#pragma once

#include <poll.h>
#include <sys/eventfd.h>

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "accel/accelerator.h"
#include "base/unique_fd.h"

namespace halcyon::test {

/// What the test and the vCPUs share.
struct FakeHypervisor {
    std::mutex mutex;
    std::condition_variable changed;
    /// Per vCPU: the outcome its present or next run ends with.
    std::map<uint32_t, RunOutcome> next_outcome;
    /// Per vCPU: how many kicks get lost. Such a vCPU sleeps in poll(2), as a real one sleeps in
    /// ioctl(2).
    std::map<uint32_t, int> deaf_to;
    /// Per vCPU: a write that its present or next run makes to a port.
    std::map<uint32_t, std::pair<uint16_t, uint8_t>> next_port_write;
    bool stuck = false;  ///< no vCPU leaves a run
    int runs = 0;
    int inside = 0;  ///< vCPUs in run now
    int open_vcpus = 0;
    bool open_partition = false;
    int resets = 0;
    bool time_frozen = false;
    bool refuse_thaw = false;
    bool extint = false;
    std::vector<MsiMessage> messages;
    std::optional<std::string> probe_error;
    bool refuse_vcpu = false;

    template <typename Condition>
    bool wait(Condition condition) {
        std::unique_lock lock(mutex);
        return changed.wait_for(lock, std::chrono::seconds(30), condition);
    }
    /// Waits until `count` vCPUs are inside a run.
    bool wait_inside(int count) {
        return wait([&] { return inside == count; });
    }
    /// The run of vCPU `index` ends so, but only after somebody has kicked it.
    void end_run_when_kicked(uint32_t index, RunOutcome outcome) {
        const std::lock_guard lock(mutex);
        next_outcome[index] = std::move(outcome);
    }
    void end_run(uint32_t index, RunOutcome outcome) {
        const std::lock_guard lock(mutex);
        next_outcome[index] = std::move(outcome);
        changed.notify_all();
    }
    void release() {
        const std::lock_guard lock(mutex);
        stuck = false;
        changed.notify_all();
    }
};

class FakeVcpu : public Vcpu {
public:
    FakeVcpu(FakeHypervisor& hypervisor, VcpuIndex index, GuestIo& io)
        : hypervisor_(hypervisor), index_(index.value()), io_(io) {
        const std::lock_guard lock(hypervisor_.mutex);
        ++hypervisor_.open_vcpus;
    }
    ~FakeVcpu() override {
        const std::lock_guard lock(hypervisor_.mutex);
        --hypervisor_.open_vcpus;
    }
    void attach_thread() override {}
    void detach_thread() override {}
    RunOutcome run() override {
        std::unique_lock lock(hypervisor_.mutex);
        ++hypervisor_.runs;
        ++hypervisor_.inside;
        hypervisor_.changed.notify_all();
        RunOutcome outcome;
        while (true) {
            if (const auto write = hypervisor_.next_port_write.extract(index_)) {
                const std::byte value{write.mapped().second};
                lock.unlock();
                io_.pio_write(PioPort(write.mapped().first), {&value, 1});
                lock.lock();
            } else if (const auto next = hypervisor_.next_outcome.extract(index_)) {
                outcome = next.mapped();
                break;
            } else if (stop_ && !hypervisor_.stuck) {
                break;
            } else if (hypervisor_.deaf_to[index_] > 0) {
                lock.unlock();
                pollfd wakeup{wakeup_.get(), POLLIN, 0};
                ::poll(&wakeup, 1, -1);
                lock.lock();
            } else {
                hypervisor_.changed.wait(lock);
            }
        }
        --hypervisor_.inside;
        hypervisor_.changed.notify_all();
        return outcome;
    }
    void set_stop() override {
        const std::lock_guard lock(hypervisor_.mutex);
        if (hypervisor_.deaf_to[index_] == 0) {
            stop_ = true;
            hypervisor_.changed.notify_all();
        }
    }
    void kick() override {
        const std::lock_guard lock(hypervisor_.mutex);
        if (hypervisor_.deaf_to[index_] > 0) {
            --hypervisor_.deaf_to[index_];
            return;
        }
        stop_ = true;
        ::eventfd_write(wakeup_.get(), 1);
        hypervisor_.changed.notify_all();
    }
    void clear_stop() override {
        const std::lock_guard lock(hypervisor_.mutex);
        stop_ = false;
    }
    Result<VcpuRegisters> registers() override { return VcpuRegisters{}; }
    Result<void> set_registers(const VcpuRegisters&) override { return {}; }
    Result<void> reset() override {
        const std::lock_guard lock(hypervisor_.mutex);
        ++hypervisor_.resets;
        return {};
    }

private:
    FakeHypervisor& hypervisor_;
    const uint32_t index_;
    GuestIo& io_;
    UniqueFd wakeup_{::eventfd(0, EFD_CLOEXEC)};
    bool stop_ = false;
};

class FakePartition : public Partition {
public:
    explicit FakePartition(FakeHypervisor& hypervisor) : hypervisor_(hypervisor) {
        hypervisor_.open_partition = true;
    }
    ~FakePartition() override { hypervisor_.open_partition = false; }
    Result<void> map_memory(GpaRange range, std::byte* host, MemoryAccess access) override {
        for (const auto& [start, mapping] : mappings) {
            if (mapping.range.overlaps(range)) {
                return Error("overlap");
            }
        }
        mappings[range.start.value()] = {range, host, access};
        return {};
    }
    Result<void> unmap_memory(GpaRange range) override {
        return mappings.erase(range.start.value()) == 1 ? Result<void>() : Error("nothing mapped");
    }
    Result<std::unique_ptr<Vcpu>> create_vcpu(VcpuIndex index, GuestIo& io) override {
        if (hypervisor_.refuse_vcpu) {
            return Error("no more vCPUs");
        }
        return std::unique_ptr<Vcpu>(std::make_unique<FakeVcpu>(hypervisor_, index, io));
    }
    Result<void> signal_msi(const MsiMessage& message) override {
        const std::lock_guard lock(hypervisor_.mutex);
        hypervisor_.messages.push_back(message);
        return {};
    }
    Result<void> set_msi_routes(std::span<const MsiRoute>) override { return {}; }
    void set_extint(bool level) override { hypervisor_.extint = level; }
    Result<void> set_time_frozen(bool frozen) override {
        if (!frozen && hypervisor_.refuse_thaw) {
            return Error("the clock is stuck");
        }
        hypervisor_.time_frozen = frozen;
        return {};
    }

    struct MappingEntry {
        GpaRange range;
        std::byte* host;
        MemoryAccess access;
    };
    std::map<uint64_t, MappingEntry> mappings;

private:
    FakeHypervisor& hypervisor_;
};

class FakeAccelerator : public Accelerator {
public:
    explicit FakeAccelerator(FakeHypervisor& hypervisor, std::string name = "fake")
        : hypervisor_(hypervisor), name_(std::move(name)) {}
    [[nodiscard]] std::string_view name() const override { return name_; }
    [[nodiscard]] Result<void> probe() const override {
        return hypervisor_.probe_error ? Result<void>(Error(*hypervisor_.probe_error))
                                       : Result<void>();
    }
    [[nodiscard]] Result<std::unique_ptr<Partition>> create_partition(
        const PartitionConfig&) const override {
        return std::unique_ptr<Partition>(std::make_unique<FakePartition>(hypervisor_));
    }
    [[nodiscard]] std::string_view kick_mechanism() const override { return "condition variable"; }

private:
    FakeHypervisor& hypervisor_;
    std::string name_;
};

}  // namespace halcyon::test
