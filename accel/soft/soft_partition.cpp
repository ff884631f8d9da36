#include "accel/soft/soft_partition.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "accel/soft/soft_vcpu.h"

namespace halcyon {

namespace {

/// 255 is the broadcast id (Intel SDM 3A 11.6.2.1).
constexpr uint32_t kMaxVcpus = 255;

}  // namespace

Result<std::unique_ptr<Partition>> SoftPartition::create(const PartitionConfig& config) {
    if (config.vcpu_count == 0 || config.vcpu_count > kMaxVcpus) {
        return Error("the soft backend runs 1 to " + std::to_string(kMaxVcpus) + " vCPUs",
                     ErrorCode::kInvalidArgument);
    }
    SoftMemory memory = TRY(SoftMemory::create());
    return std::unique_ptr<Partition>(new SoftPartition(config, std::move(memory)));
}

SoftPartition::SoftPartition(const PartitionConfig& config, SoftMemory memory)
    : config_(config), memory_(std::move(memory)), vcpus_(config.vcpu_count, nullptr) {}

SoftPartition::~SoftPartition() = default;

Result<void> SoftPartition::map_memory(GpaRange range, std::byte* host, MemoryAccess access) {
    Result<void> result;
    token_.exclusive([&] { result = memory_.map(range, host, access); });
    return result;
}

Result<void> SoftPartition::unmap_memory(GpaRange range) {
    Result<void> result;
    token_.exclusive([&] { result = memory_.unmap(range); });
    return result;
}

Result<std::unique_ptr<Vcpu>> SoftPartition::create_vcpu(VcpuIndex index, GuestIo& io) {
    const ExecutionToken::Lock lock = token_.lock();
    if (index.value() >= vcpus_.size() || vcpus_[index.value()] != nullptr) {
        return Error("vCPU " + std::to_string(index.value()) + " exists or is beyond vcpu_count",
                     ErrorCode::kInvalidArgument);
    }
    std::unique_ptr<SoftVcpu> vcpu = TRY(SoftVcpu::create(*this, index, io));
    vcpus_[index.value()] = vcpu.get();
    vcpu->set_lint0(extint_);
    return std::unique_ptr<Vcpu>(std::move(vcpu));
}

void SoftPartition::remove(const SoftVcpu& vcpu) {
    const ExecutionToken::Lock lock = token_.lock();
    std::replace(vcpus_.begin(), vcpus_.end(), const_cast<SoftVcpu*>(&vcpu),
                 static_cast<SoftVcpu*>(nullptr));
}

/// The address and data of a message-signalled interrupt (Intel SDM 3A 11.11).
Result<void> SoftPartition::signal_msi(const MsiMessage& message) {
    constexpr uint64_t kInterruptPage = 0xfee;
    constexpr uint64_t kLogical = 1U << 2;
    constexpr uint32_t kLevel = 1U << 15;
    if (!config_.local_apic || message.address >> 20 != kInterruptPage) {
        return {};  // nobody accepts it
    }
    const ApicMessage interrupt{.mode = static_cast<uint8_t>((message.data >> 8) & 7),
                                .vector = static_cast<uint8_t>(message.data),
                                .level_triggered = (message.data & kLevel) != 0,
                                .logical = (message.address & kLogical) != 0,
                                .destination = static_cast<uint8_t>(message.address >> 12)};
    const ExecutionToken::Lock lock = token_.lock();
    deliver(interrupt, vcpus_);
    return {};
}

Result<void> SoftPartition::set_msi_routes(std::span<const MsiRoute> /*routes*/) {
    return {};
}

void SoftPartition::set_extint(bool level) {
    const ExecutionToken::Lock lock = token_.lock();
    extint_ = level;
    if (vcpus_[0] != nullptr) {
        vcpus_[0]->set_lint0(level);
    }
}

Result<void> SoftPartition::set_time_frozen(bool frozen) {
    clock_.set_frozen(frozen);
    return {};
}

void SoftPartition::send(const SoftVcpu& sender, const ApicCommand& command) {
    std::vector<SoftVcpu*> targets;
    for (SoftVcpu* vcpu : vcpus_) {
        bool addressed = vcpu != nullptr;
        switch (command.shorthand) {
            case ApicCommand::Shorthand::kNone:
            case ApicCommand::Shorthand::kAll:
                break;
            case ApicCommand::Shorthand::kSelf:
                addressed = vcpu == &sender;
                break;
            case ApicCommand::Shorthand::kOthers:
                addressed = addressed && vcpu != &sender;
                break;
        }
        if (addressed) {
            targets.push_back(vcpu);
        }
    }
    ApicMessage message = command.message;
    if (command.shorthand != ApicCommand::Shorthand::kNone) {
        message.logical = false;
        message.destination = 0xff;
    }
    deliver(message, targets);
}

/// To every addressed vCPU, or for the lowest-priority mode to one of them. With the mutex.
void SoftPartition::deliver(const ApicMessage& message, std::span<SoftVcpu* const> targets) {
    SoftVcpu* lowest = nullptr;
    for (size_t i = 0; i < targets.size(); ++i) {
        SoftVcpu* vcpu = targets[(arbitration_ + i) % targets.size()];
        if (vcpu == nullptr || !vcpu->apic().matches(message)) {
            continue;
        }
        if (message.mode != ApicMessage::kLowestPriority) {
            vcpu->receive(message);
        } else if (lowest == nullptr ||
                   vcpu->apic().processor_priority() < lowest->apic().processor_priority()) {
            lowest = vcpu;
        }
    }
    if (lowest != nullptr) {
        ++arbitration_;
        lowest->receive(message);
    }
}

}  // namespace halcyon
