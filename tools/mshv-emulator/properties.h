/// Properties: a partition's properties and its clock; and those of the host.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "accel/mshv/mshv_hypercalls.h"
#include "tools/mshv-emulator/kvm.h"

namespace halcyon::emulator {

class Partition;

/// What CREATE_PARTITION asks for.
struct PartitionConfig {
    uint64_t flags = 0;                      ///< mshv::PartitionFlag
    uint64_t disabled_cpu_features[2] = {};  ///< the banks of PROCESSOR_FEATURES0 and 1
    uint64_t disabled_xsave_features = 0;    ///< the bits of PROCESSOR_XSAVE_FEATURES
};

/// A property of the processor that CPUID leaves show; kUnknownProperty for others.
mshv::HvStatus get_processor_property(const std::vector<kvm_cpuid_entry2>& leaves,
                                      mshv::PartitionProperty property, uint64_t& value);

/// The host's, on the device's descriptor: GET_PARTITION_PROPERTY of HV_PARTITION_ID_SELF.
mshv::HvStatus get_host_property(mshv::PartitionProperty property, uint64_t& value);
/// GET_PARTITION_PROPERTY_EX: the bytes of the answer.
mshv::HvStatus get_host_property_ex(mshv::PartitionProperty property, uint64_t argument,
                                    std::vector<uint8_t>& value);

/// The features of the synthetic processor that the emulator can show a guest, a bit for each
/// SyntheticFeature: what a partition may ask for beyond it is taken and masked.
uint64_t assignable_synthetic_features();

/// Any thread.
class Properties {
public:
    explicit Properties(const PartitionConfig& config);

    mshv::HvStatus get(Partition& partition, mshv::PartitionProperty property,
                       uint64_t& value) const;
    /// Early properties fail with kInvalidPartitionState once the partition is initialized.
    mshv::HvStatus set(Partition& partition, mshv::PartitionProperty property, uint64_t value);

    /// The synthetic features that the guest sees.
    [[nodiscard]] uint64_t synthetic_features() const;
    /// Whether an unimplemented MSR reads as 0 and ignores writes, instead of #GP.
    [[nodiscard]] bool ignores_unimplemented_msrs() const;
    /// The partition's time, in 100 ns; stands still while frozen.
    [[nodiscard]] uint64_t reference_time() const;

    [[nodiscard]] bool frozen() const;
    /// The host's TSC at which guests' TSCs stand still; only while frozen.
    [[nodiscard]] uint64_t frozen_tsc() const;

private:
    mshv::HvStatus set_time_freeze(Partition& partition, uint64_t value);

    mutable std::mutex mutex_;
    std::map<mshv::PartitionProperty, uint64_t> values_;
    /// Reference time at host time `base_host_`; both in 100 ns.
    uint64_t base_ = 0;
    uint64_t base_host_ = 0;
    bool frozen_ = false;
    uint64_t frozen_tsc_ = 0;
};

/// A VP's TSC in a partition whose time may stand still.
uint64_t get_guest_tsc(const Properties& properties, const KvmVcpu& vcpu);
bool set_guest_tsc(const Properties& properties, const KvmVcpu& vcpu, uint64_t value);

}  // namespace halcyon::emulator
