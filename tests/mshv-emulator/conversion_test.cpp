/// Layouts of KVM's into those of the hypervisor's and back: registers, local APIC, XSAVE, CPUID.
#include <cstring>

#include <gtest/gtest.h>

#include "tools/mshv-emulator/cpuid.h"
#include "tools/mshv-emulator/lapic.h"
#include "tools/mshv-emulator/registers.h"
#include "tools/mshv-emulator/xsave_format.h"

namespace halcyon::emulator {
namespace {

// ---- Registers ---------------------------------------------------------------------------------

TEST(Segments, GoThereAndBack) {
    const mshv::Segment segment{
        .base = 0x1122334455667788, .limit = 0xfffff, .selector = 0x33, .attributes = 0xf0fb};
    const kvm_segment kvm = to_kvm_segment(segment);
    EXPECT_EQ(kvm.type, 0xb);
    EXPECT_EQ(kvm.dpl, 3);
    EXPECT_EQ(kvm.unusable, 0);
    const mshv::Segment back = to_segment(kvm);
    EXPECT_EQ(std::memcmp(&segment, &back, sizeof(segment)), 0);
}

TEST(Segments, UnusableIsNotPresent) {
    EXPECT_EQ(to_kvm_segment({.base = 0, .limit = 0, .selector = 0, .attributes = 0}).unusable, 1);
    kvm_segment kvm{};
    kvm.present = 1;
    kvm.unusable = 1;
    EXPECT_EQ(to_segment(kvm).attributes & 0x80, 0);
}

TEST(GeneralRegisters, AreInTheOrderOfTheirEncoding) {
    kvm_regs regs{};
    regs.rax = 0;
    regs.rcx = 1;
    regs.rdx = 2;
    regs.rbx = 3;
    regs.rsp = 4;
    regs.rbp = 5;
    regs.rsi = 6;
    regs.rdi = 7;
    regs.r8 = 8;
    regs.r15 = 15;
    for (const unsigned number : {0U, 1U, 2U, 3U, 4U, 5U, 6U, 7U, 8U, 15U}) {
        EXPECT_EQ(gpr(regs, number), number);
    }
}

TEST(RegisterNames, OfMsrs) {
    EXPECT_EQ(msr_of_register(0x80006), 0x176U);       // SYSENTER_EIP
    EXPECT_EQ(msr_of_register(0x80007), 0x175U);       // SYSENTER_ESP
    EXPECT_EQ(msr_of_register(0x80012), 0x204U);       // MTRR_PHYS_BASE2
    EXPECT_EQ(msr_of_register(0x80041), 0x203U);       // MTRR_PHYS_MASK1
    EXPECT_EQ(msr_of_register(0x8007a), 0x26fU);       // MTRR_FIX4K_F8000
    EXPECT_EQ(msr_of_register(0x8000b), 0xc0000084U);  // SFMASK
    EXPECT_EQ(msr_of_register(0xa0003), 0x40000093U);  // SINT3
    EXPECT_EQ(msr_of_register(0xb0003), 0x400000b3U);  // STIMER1_COUNT
    EXPECT_EQ(msr_of_register(0x90020), std::nullopt);
    EXPECT_EQ(msr_of_register(0x80001), std::nullopt);  // EFER is no MSR of KVM's here
}

// ---- Local APIC --------------------------------------------------------------------------------

TEST(Lapic, GoesThereAndBack) {
    for (const bool x2apic : {false, true}) {
        kvm_lapic_state state{};
        for (size_t offset = 0; offset < sizeof(state.regs); offset += 0x10) {
            const auto value = static_cast<uint32_t>(0x01000000 + offset);
            std::memcpy(state.regs + offset, &value, sizeof(value));
        }
        const mshv::LapicState lapic = to_hv_lapic(state, x2apic);
        EXPECT_EQ(lapic.apic_id, x2apic ? 0x01000020U : 1U);
        EXPECT_EQ(lapic.irr[7], 0x01000270U);
        EXPECT_EQ(lapic.lvt_lint1, 0x01000360U);
        kvm_lapic_state back{};
        update_kvm_lapic(lapic, x2apic, back);
        mshv::LapicState again = to_hv_lapic(back, x2apic);
        again.version = lapic.version;  // KVM's own: it is not written
        EXPECT_EQ(std::memcmp(&lapic, &again, sizeof(lapic)), 0);
    }
}

TEST(Lapic, WhatTheHypervisorsLayoutLacksStays) {
    kvm_lapic_state state{};
    state.regs[0x80] = 0x40;  // TPR
    update_kvm_lapic(mshv::LapicState{}, false, state);
    EXPECT_EQ(state.regs[0x80], 0x40);
}

// ---- CPUID -------------------------------------------------------------------------------------

kvm_cpuid_entry2 leaf(uint32_t function, uint32_t eax, uint32_t ebx, uint32_t ecx, uint32_t edx) {
    kvm_cpuid_entry2 entry{};
    entry.function = function;
    entry.eax = eax;
    entry.ebx = ebx;
    entry.ecx = ecx;
    entry.edx = edx;
    return entry;
}

kvm_cpuid_entry2 subleaf(uint32_t function, uint32_t index, uint32_t eax, uint32_t ebx,
                         uint32_t ecx) {
    kvm_cpuid_entry2 entry = leaf(function, eax, ebx, ecx, 0);
    entry.index = index;
    entry.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
    return entry;
}

mshv::RegisterCpuidResultInput result_for(uint32_t eax, uint32_t ecx, bool specific, uint32_t value,
                                          uint32_t mask) {
    mshv::RegisterCpuidResultInput input{};
    input.eax = eax;
    input.ecx = ecx;
    input.subleaf_specific = specific ? 1 : 0;
    input.result[1].value = value;
    input.result[1].mask = mask;
    return input;
}

TEST(CpuidResults, ChangeTheMaskedBits) {
    CpuidEntries entries = {leaf(1, 1, 0xff00ff00, 3, 4)};
    apply_cpuid_result(entries, result_for(1, 0, false, 0x12345678, 0x0000ffff));
    EXPECT_EQ(entries[0].ebx, 0xff005678U);
    EXPECT_EQ(entries[0].eax, 1U);
}

TEST(CpuidResults, OfALeafCoverItsSubLeaves) {
    CpuidEntries entries = {subleaf(4, 0, 0, 1, 0), subleaf(4, 1, 0, 2, 0)};
    apply_cpuid_result(entries, result_for(4, 0, false, 0xf0, 0xf0));
    EXPECT_EQ(entries[0].ebx, 0xf1U);
    EXPECT_EQ(entries[1].ebx, 0xf2U);
}

TEST(CpuidResults, OfASubLeafLeaveTheOthers) {
    CpuidEntries entries = {subleaf(0xb, 0, 0, 1, 0), subleaf(0xb, 1, 0, 2, 0)};
    apply_cpuid_result(entries, result_for(0xb, 1, true, 0x20, 0xff));
    apply_cpuid_result(entries, result_for(0xb, 2, true, 0x30, 0xff));
    EXPECT_EQ(find_leaf(entries, 0xb, 0)->ebx, 1U);
    EXPECT_EQ(find_leaf(entries, 0xb, 1)->ebx, 0x20U);
    EXPECT_EQ(find_leaf(entries, 0xb, 2)->ebx, 0x30U);
}

TEST(CpuidResults, MakeLeavesThatThereWereNot) {
    CpuidEntries entries;
    apply_cpuid_result(entries, result_for(0x40000000, 0, false, 7, 0xff));
    ASSERT_NE(find_leaf(entries, 0x40000000, 0), nullptr);
    EXPECT_EQ(find_leaf(entries, 0x40000000, 5)->ebx, 7U);
}

TEST(ProcessorFeatures, AreReadAndDisabled) {
    CpuidEntries entries = {leaf(1, 0, 0, 1U << 0 | 1U << 17 | 1U << 26 | 1U << 28, 0),
                            subleaf(7, 0, 0, 1U << 7 | 1U << 18, 1U << 16),
                            subleaf(0xd, 0, 0x7, 0, 0), subleaf(0xd, 2, 256, 576, 0)};
    const ProcessorFeatures features = processor_features(entries);
    EXPECT_EQ(features.banks[0], 1U << 0 | 1U << 18 | 1U << 23 | uint64_t{1} << 32);
    EXPECT_EQ(features.banks[1], 1U << 4);
    EXPECT_EQ(features.xsave, 1U << 0 | 1U << 2);

    ProcessorFeatures disabled;
    disabled.banks = {1U << 23, 1U << 4};
    disabled.xsave = 1U << 2;
    disable_features(entries, disabled);
    EXPECT_EQ(processor_features(entries).banks[0], 1U << 0 | 1U << 18 | uint64_t{1} << 32);
    EXPECT_EQ(processor_features(entries).banks[1], 0U);
    EXPECT_EQ(find_leaf(entries, 0xd, 0)->eax, 3U);
    EXPECT_EQ(find_leaf(entries, 0xd, 2), nullptr);
}

// ---- XSAVE -------------------------------------------------------------------------------------

/// x87, SSE, AVX at 576 and a component 9 of 24 bytes at 2688, aligned in the compacted format.
const CpuidEntries kXsaveLeaves = {subleaf(0xd, 0, 0x207, 0, 0), subleaf(0xd, 2, 256, 576, 0),
                                   subleaf(0xd, 9, 24, 2688, 2)};

std::vector<uint8_t> standard_area() {
    std::vector<uint8_t> area(4096);
    area[160] = 0xaa;        // XMM0
    area[576] = 0xbb;        // AVX
    area[2688 + 23] = 0xcc;  // component 9
    area[512] = 0x07;
    area[513] = 0x02;
    return area;
}

uint64_t word(const std::vector<uint8_t>& area, size_t offset) {
    uint64_t value = 0;
    std::memcpy(&value, area.data() + offset, sizeof(value));
    return value;
}

TEST(Xsave, IsCompacted) {
    std::vector<uint8_t> compacted(4096);
    compact_xsave(kXsaveLeaves, standard_area(), compacted);
    EXPECT_EQ(word(compacted, 512), 0x207U);
    EXPECT_EQ(word(compacted, 520), 0x8000000000000207U);
    EXPECT_EQ(compacted[160], 0xaa);
    EXPECT_EQ(compacted[576], 0xbb);
    EXPECT_EQ(compacted[832 + 23], 0xcc);
}

TEST(Xsave, GoesThereAndBack) {
    const std::vector<uint8_t> before = standard_area();
    std::vector<uint8_t> compacted(4096);
    compact_xsave(kXsaveLeaves, before, compacted);
    std::vector<uint8_t> after(4096);
    ASSERT_TRUE(expand_xsave(kXsaveLeaves, compacted, after));
    EXPECT_EQ(before, after);
}

TEST(Xsave, OnlyTheCompactedFormatWithKnownComponentsIsTaken) {
    std::vector<uint8_t> after(4096);
    EXPECT_FALSE(expand_xsave(kXsaveLeaves, standard_area(), after));
    std::vector<uint8_t> compacted(4096);
    compact_xsave(kXsaveLeaves, standard_area(), compacted);
    compacted[520] |= 8;  // component 3
    EXPECT_FALSE(expand_xsave(kXsaveLeaves, compacted, after));
}

TEST(Xsave, AStateThatIsTooShortIsRefused) {
    std::vector<uint8_t> compacted(4096);
    compact_xsave(kXsaveLeaves, standard_area(), compacted);
    compacted.resize(850);
    std::vector<uint8_t> after(4096);
    EXPECT_FALSE(expand_xsave(kXsaveLeaves, compacted, after));
}

}  // namespace
}  // namespace halcyon::emulator
