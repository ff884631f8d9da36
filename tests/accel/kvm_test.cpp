// What only the KVM backend has: CPUID leaves, refusals, exits that KVM alone makes.
#include <algorithm>

#include "accel/kvm/kvm_accelerator.h"
#include "accel/kvm/kvm_cpuid.h"
#include "tests/accel/guest_fixture.h"

namespace halcyon::testing_support {
namespace {

kvm_cpuid_entry2 leaf(uint32_t function, uint32_t eax = 0, uint32_t ebx = 0, uint32_t ecx = 0,
                      uint32_t edx = 0) {
    kvm_cpuid_entry2 entry{};
    entry.function = function;
    entry.eax = eax;
    entry.ebx = ebx;
    entry.ecx = ecx;
    entry.edx = edx;
    return entry;
}

const kvm_cpuid_entry2* find(const CpuidEntries& entries, uint32_t function, uint32_t index = 0) {
    const auto found =
        std::find_if(entries.begin(), entries.end(), [&](const kvm_cpuid_entry2& entry) {
            return entry.function == function && entry.index == index;
        });
    return found == entries.end() ? nullptr : &*found;
}

constexpr uint32_t kApic = 1u << 9;
constexpr uint32_t kX2apic = 1u << 21;
constexpr uint32_t kTscDeadline = 1u << 24;
constexpr uint32_t kHypervisor = 1u << 31;
constexpr uint32_t kHtt = 1u << 28;

/// What a host might support: basic leaves up to 1Fh.
CpuidEntries host_leaves() {
    return {leaf(0, 0x1f, 0x756e6547, 0x6c65746e, 0x49656e69),
            leaf(1, 0x806f8, 0xff102000, kX2apic | 1, kApic | 1),
            leaf(4, 0xfc004121),  // level 1 data cache
            leaf(0xb, 7, 7, 7, 7),
            leaf(0x1f, 7, 7, 7, 7),
            leaf(0x40000001, 1u << 7 | 1)};
}

TEST(KvmCpuid, LeafOneCarriesTheApicIdAndTheHypervisor) {
    const CpuidEntries entries = vcpu_cpuid(host_leaves(), {.vcpu_count = 3}, VcpuIndex(2), true);
    const auto* one = find(entries, 1);
    ASSERT_NE(one, nullptr);
    EXPECT_EQ(one->eax, 0x806f8u);
    EXPECT_EQ(one->ebx >> 24, 2u);
    EXPECT_EQ(one->ebx >> 16 & 0xff, 4u);  // ids, a power of two
    EXPECT_EQ(one->ebx & 0xffff, 0x2000u);
    EXPECT_EQ(one->ecx, kX2apic | kTscDeadline | kHypervisor | 1);
    EXPECT_EQ(one->edx, kApic | kHtt | 1);
    EXPECT_EQ(cpu_signature(entries), 0x806f8u);
}

TEST(KvmCpuid, NestedVirtualizationIsNotShown) {
    constexpr uint32_t kVmx = 1u << 5;
    constexpr uint32_t kSvm = 1u << 2;
    CpuidEntries host = host_leaves();
    for (kvm_cpuid_entry2& entry : host) {
        if (entry.function == 1) {
            entry.ecx |= kVmx;
        } else if (entry.function == 0) {
            entry.ebx = 0x68747541;  // "Auth": AMD
        }
    }
    kvm_cpuid_entry2 extended{};
    extended.function = 0x80000001;
    extended.ecx = kSvm | 1;
    host.push_back(extended);
    const CpuidEntries entries = vcpu_cpuid(host, {}, VcpuIndex(0), true);
    EXPECT_EQ(find(entries, 1)->ecx & kVmx, 0u);
    EXPECT_EQ(find(entries, 0x80000001)->ecx, 1u);
}

TEST(KvmCpuid, WithoutALocalApicItsFeaturesAreNotShown) {
    const CpuidEntries entries =
        vcpu_cpuid(host_leaves(), {.vcpu_count = 1, .local_apic = false}, VcpuIndex(0), true);
    const auto* one = find(entries, 1);
    ASSERT_NE(one, nullptr);
    EXPECT_EQ(one->ecx, kHypervisor | 1);
    EXPECT_EQ(one->edx, 1u);
    EXPECT_EQ(find(entries, 0x40000001)->eax, 1u);
}

TEST(KvmCpuid, TheTscDeadlineTimerIsShownOnlyWhereThereIsOne) {
    const CpuidEntries entries = vcpu_cpuid(host_leaves(), {}, VcpuIndex(0), false);
    EXPECT_EQ(find(entries, 1)->ecx & kTscDeadline, 0u);
}

TEST(KvmCpuid, TopologyLeavesAreOnePackageOfSingleThreadedCores) {
    const CpuidEntries entries = vcpu_cpuid(host_leaves(), {.vcpu_count = 6}, VcpuIndex(5), true);
    for (const uint32_t function : {0xbu, 0x1fu}) {
        const auto* threads = find(entries, function, 0);
        const auto* cores = find(entries, function, 1);
        const auto* end = find(entries, function, 2);
        ASSERT_TRUE(threads != nullptr && cores != nullptr && end != nullptr);
        EXPECT_EQ(threads->eax, 0u);
        EXPECT_EQ(threads->ebx, 1u);
        EXPECT_EQ(threads->ecx, 0x100u);
        EXPECT_EQ(cores->eax, 3u);
        EXPECT_EQ(cores->ebx, 6u);
        EXPECT_EQ(cores->ecx, 0x201u);
        EXPECT_EQ(end->ebx, 0u);
        EXPECT_EQ(end->ecx, 2u);
        for (const auto* entry : {threads, cores, end}) {
            EXPECT_EQ(entry->edx, 5u);
            EXPECT_EQ(entry->flags, static_cast<uint32_t>(KVM_CPUID_FLAG_SIGNIFCANT_INDEX));
        }
    }
    // Leaf 4: this core's own first-level cache, up to 8 cores in the package.
    EXPECT_EQ(find(entries, 4)->eax, 0x121u | 7u << 26);
}

TEST(KvmCpuid, TopologyLeavesAreNotAddedBeyondTheHostsLast) {
    CpuidEntries host = host_leaves();
    host[0].eax = 0xd;
    const CpuidEntries entries = vcpu_cpuid(host, {}, VcpuIndex(0), true);
    EXPECT_NE(find(entries, 0xb), nullptr);
    EXPECT_EQ(find(entries, 0x1f), nullptr);
}

class Kvm : public ::testing::Test {
protected:
    void SetUp() override {
        if (const auto usable = kvm_.probe(); !usable) {
            GTEST_SKIP() << usable.error().message();
        }
        ASSERT_TRUE(install_kick_handler());
    }
    KvmAccelerator kvm_;
};

TEST_F(Kvm, AnUnknownCpuModelIsRefusedByName) {
    const auto partition = kvm_.create_partition({.cpu_model = "nonesuch"});
    ASSERT_FALSE(partition);
    EXPECT_NE(partition.error().message().find("nonesuch"), std::string::npos)
        << partition.error().message();
}

TEST_F(Kvm, MoreVcpusThanApicIdsAreRefused) {
    EXPECT_FALSE(kvm_.create_partition({.vcpu_count = 256}));
}

TEST_F(Kvm, TheGuestSeesItsOwnApicIdAndTheHypervisorBit) {
    Guest guest(kvm_, {.vcpu_count = 3, .local_apic = false});
    ASSERT_TRUE(guest.ok());
    guest.start_real_mode(
        {
            0x66, 0x31, 0xc0,  // xor eax, eax
            0x40,              // inc ax
            0x0f, 0xa2,        // cpuid
            0xe6, 0xf4,        // out 0xf4, al
        },
        2);
    const VcpuRegisters after = guest.run_to_done(2);
    EXPECT_EQ(after.gpr[kRbx] >> 24 & 0xff, 2u);
    EXPECT_NE(after.gpr[kRcx] & kHypervisor, 0u);
}

TEST_F(Kvm, CountersTellOfRefusedEntries) {
    Guest guest(kvm_);
    ASSERT_TRUE(guest.ok());
    guest.start_real_mode({0xeb, 0xfe});  // jmp $
    guest.vcpu().set_stop();
    VcpuRun run(guest.vcpu());
    EXPECT_EQ(run.wait().stop, RunStop::kKicked);
    const VcpuCounters* counters = guest.vcpu().counters();
    ASSERT_NE(counters, nullptr);
    EXPECT_EQ(counters->entries.value(), 1u);
    EXPECT_EQ(counters->aborted_entries.value(), 1u);
}

}  // namespace
}  // namespace halcyon::testing_support
