#include "daemon/commands/cpu_features.h"

#include <map>
#include <utility>

#include <gtest/gtest.h>

namespace halcyon {
namespace {

/// CPUID out of a table; zeroes elsewhere.
using Leaves = std::map<std::pair<uint32_t, uint32_t>, CpuidRegisters>;

Json describe(const Leaves& leaves) {
    const auto described = describe_cpu([&](uint32_t leaf, uint32_t subleaf) {
        const auto found = leaves.find({leaf, subleaf});
        return std::optional(found == leaves.end() ? CpuidRegisters() : found->second);
    });
    return described.value_or(Json());
}

TEST(CpuFeatures, AreNothingWithoutCpuid) {
    EXPECT_EQ(describe_cpu([](uint32_t, uint32_t) { return std::nullopt; }), std::nullopt);
}

TEST(CpuFeatures, AreAllFalseWithoutAnyBit) {
    const Json properties = describe({});
    EXPECT_EQ(properties["fpu"], false);
    EXPECT_EQ(properties["avx512vl"], false);
    EXPECT_FALSE(properties.contains("-"));
}

TEST(CpuFeatures, AreNamedByLeafRegisterAndBit) {
    struct Case {
        uint32_t leaf;
        uint32_t subleaf;
        CpuidRegisters value;
        const char* name;
    };
    // Intel SDM 2A, tables 3-8 to 3-11 of CPUID; AMD APM 3, appendix E.
    for (const Case& test : {
             Case{1, 0, {.edx = 1U << 0}, "fpu"},
             Case{1, 0, {.edx = 1U << 9}, "apic"},
             Case{1, 0, {.edx = 1U << 26}, "sse2"},
             Case{1, 0, {.edx = 1U << 31}, "pbe"},
             Case{1, 0, {.ecx = 1U << 0}, "pni"},
             Case{1, 0, {.ecx = 1U << 13}, "cx16"},
             Case{1, 0, {.ecx = 1U << 19}, "sse4.1"},
             Case{1, 0, {.ecx = 1U << 21}, "x2apic"},
             Case{1, 0, {.ecx = 1U << 28}, "avx"},
             Case{1, 0, {.ecx = 1U << 31}, "hypervisor"},
             Case{6, 0, {.eax = 1U << 2}, "arat"},
             Case{7, 0, {.ebx = 1U << 5}, "avx2"},
             Case{7, 0, {.ebx = 1U << 16}, "avx512f"},
             Case{7, 0, {.ebx = 1U << 31}, "avx512vl"},
             Case{7, 0, {.ecx = 1U << 2}, "umip"},
             Case{7, 0, {.ecx = 1U << 16}, "la57"},
             Case{7, 0, {.ecx = 1U << 31}, "pks"},
             Case{7, 0, {.edx = 1U << 4}, "fsrm"},
             Case{7, 0, {.edx = 1U << 14}, "serialize"},
             Case{7, 0, {.edx = 1U << 26}, "spec-ctrl"},
             Case{7, 0, {.edx = 1U << 31}, "ssbd"},
             Case{7, 1, {.eax = 1U << 4}, "avx-vnni"},
             Case{0xd, 1, {.eax = 1U << 3}, "xsaves"},
             Case{0x80000001, 0, {.edx = 1U << 11}, "syscall"},
             Case{0x80000001, 0, {.edx = 1U << 20}, "nx"},
             Case{0x80000001, 0, {.edx = 1U << 29}, "lm"},
             Case{0x80000001, 0, {.ecx = 1U << 0}, "lahf-lm"},
             Case{0x80000001, 0, {.ecx = 1U << 22}, "topoext"},
             Case{0x80000007, 0, {.edx = 1U << 8}, "invtsc"},
             Case{0x80000008, 0, {.ebx = 1U << 9}, "wbnoinvd"},
             Case{0x80000008, 0, {.ebx = 1U << 26}, "amd-no-ssb"},
         }) {
        const Json properties = describe({{{test.leaf, test.subleaf}, test.value}});
        for (const auto& [name, value] : properties.items()) {
            if (value.is_boolean()) {
                EXPECT_EQ(value.get<bool>(), name == test.name) << name << ", " << test.name;
            }
        }
    }
}

TEST(CpuFeatures, TellVendorModelAndSignature) {
    const Json properties = describe({
        {{0, 0}, {.eax = 0x24, .ebx = 0x756e6547, .ecx = 0x6c65746e, .edx = 0x49656e69}},
        {{1, 0}, {.eax = 0x000A0671}},
        {{0x80000000, 0}, {.eax = 0x80000008}},
        {{0x80000002, 0}, {.eax = 0x65746e49, .ebx = 0x5228206c}},
        {{0x80000003, 0}, {.eax = 0x0029}},
    });
    EXPECT_EQ(properties["vendor"], "GenuineIntel");
    EXPECT_EQ(properties["model-id"], "Intel (R)");
    EXPECT_EQ(properties["family"], 6);
    EXPECT_EQ(properties["model"], 0xA7);
    EXPECT_EQ(properties["stepping"], 1);
    EXPECT_EQ(properties["level"], 0x24);
    EXPECT_EQ(properties["xlevel"], 0x80000008);
}

TEST(CpuFeatures, AddTheExtendedFamilyOnTopOfFifteenOnly) {
    EXPECT_EQ(describe({{{1, 0}, {.eax = 0x00A20F12}}})["family"], 0x19);
    EXPECT_EQ(describe({{{1, 0}, {.eax = 0x00A20F12}}})["model"], 0x21);
    EXPECT_EQ(describe({{{1, 0}, {.eax = 0x00F00512}}})["family"], 5);
    EXPECT_EQ(describe({{{1, 0}, {.eax = 0x000F0512}}})["model"], 1);
}

}  // namespace
}  // namespace halcyon
