#include "daemon/commands/cpu_features.h"

#include <array>
#include <sstream>
#include <string>
#include <string_view>

namespace halcyon {
namespace {

/// A register of a leaf and the names of its bits from 0 on, separated by spaces; "-" where a bit
/// is no feature, or one that a program switches on.
struct FeatureWord {
    uint32_t leaf;
    uint32_t subleaf;
    uint32_t CpuidRegisters::*word;
    std::string_view names;
};

constexpr FeatureWord kFeatureWords[] = {
    {1, 0, &CpuidRegisters::edx,
     "fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn clflush - ds "
     "acpi mmx fxsr sse sse2 ss ht tm ia64 pbe"},
    {1, 0, &CpuidRegisters::ecx,
     "pni pclmulqdq dtes64 monitor ds-cpl vmx smx est tm2 ssse3 cid - fma cx16 xtpr pdcm - pcid "
     "dca sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes xsave - avx f16c rdrand hypervisor"},
    {6, 0, &CpuidRegisters::eax, "- - arat"},
    {7, 0, &CpuidRegisters::ebx,
     "fsgsbase tsc-adjust sgx bmi1 hle avx2 - smep bmi2 erms invpcid rtm - - mpx - avx512f "
     "avx512dq rdseed adx smap avx512ifma pcommit clflushopt clwb intel-pt avx512pf avx512er "
     "avx512cd sha-ni avx512bw avx512vl"},
    {7, 0, &CpuidRegisters::ecx,
     "- avx512vbmi umip pku - waitpkg avx512vbmi2 - gfni vaes vpclmulqdq avx512vnni avx512bitalg - "
     "avx512-vpopcntdq - la57 - - - - - rdpid - bus-lock-detect cldemote - movdiri movdir64b - "
     "sgxlc pks"},
    {7, 0, &CpuidRegisters::edx,
     "- - avx512-4vnniw avx512-4fmaps fsrm - - - avx512-vp2intersect - md-clear - - - serialize - "
     "tsx-ldtrk - - arch-lbr - - amx-bf16 avx512-fp16 amx-tile amx-int8 spec-ctrl stibp - "
     "arch-capabilities core-capability ssbd"},
    {7, 1, &CpuidRegisters::eax, "- - - - avx-vnni avx512-bf16"},
    {0xd, 1, &CpuidRegisters::eax, "xsaveopt xsavec xgetbv1 xsaves xfd"},
    {0x80000001, 0, &CpuidRegisters::edx,
     "- - - - - - - - - - - syscall - - - - - - - - nx - mmxext - - fxsr-opt pdpe1gb rdtscp - lm "
     "3dnowext 3dnow"},
    {0x80000001, 0, &CpuidRegisters::ecx,
     "lahf-lm cmp-legacy svm extapic cr8legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop "
     "skinit wdt - lwp fma4 tce - nodeid-msr - tbm topoext perfctr-core perfctr-nb"},
    {0x80000007, 0, &CpuidRegisters::edx, "- - - - - - - - invtsc"},
    {0x80000008, 0, &CpuidRegisters::ebx,
     "clzero - xsaveerptr - - - - - - wbnoinvd - - ibpb - ibrs amd-stibp - - - - - - - - amd-ssbd "
     "virt-ssbd amd-no-ssb"},
};

void append_characters(std::string& text, std::initializer_list<uint32_t> words) {
    for (const uint32_t word : words) {
        for (unsigned shift = 0; shift < 32; shift += 8) {
            const auto character = static_cast<char>(word >> shift & 0xff);
            if (character != '\0') {
                text += character;
            }
        }
    }
}

/// Leaf 1 EAX (Intel SDM 2A, CPUID, figure 3-6): the extended family counts above 0Fh only, the
/// extended model above family 5.
void add_signature(Json& properties, uint32_t signature) {
    const uint32_t family = signature >> 8 & 0xf;
    const uint32_t extended_family = signature >> 20 & 0xff;
    const uint32_t extended_model = signature >> 16 & 0xf;
    properties["stepping"] = signature & 0xf;
    properties["family"] = family == 0xf ? family + extended_family : family;
    properties["model"] =
        (signature >> 4 & 0xf) | (family == 6 || family == 0xf ? extended_model << 4 : 0);
}

}  // namespace

std::optional<Json> describe_cpu(const CpuidFunction& cpuid) {
    const std::optional<CpuidRegisters> base = cpuid(0, 0);
    if (!base) {
        return std::nullopt;
    }
    const auto get = [&](uint32_t leaf, uint32_t subleaf) {
        return cpuid(leaf, subleaf).value_or(CpuidRegisters());
    };
    Json properties = Json::object();
    for (const FeatureWord& word : kFeatureWords) {
        uint32_t bits = get(word.leaf, word.subleaf).*word.word;
        std::istringstream names{std::string(word.names)};
        for (std::string name; names >> name; bits >>= 1) {
            if (name != "-") {
                properties[name] = (bits & 1) != 0;
            }
        }
    }
    const CpuidRegisters extended = get(0x80000000, 0);
    properties["level"] = base->eax;
    properties["xlevel"] = extended.eax;
    std::string vendor;
    append_characters(vendor, {base->ebx, base->edx, base->ecx});
    properties["vendor"] = vendor;
    std::string model_id;
    for (uint32_t leaf = 0x80000002; leaf <= 0x80000004 && leaf <= extended.eax; ++leaf) {
        const CpuidRegisters part = get(leaf, 0);
        append_characters(model_id, {part.eax, part.ebx, part.ecx, part.edx});
    }
    properties["model-id"] = model_id;
    add_signature(properties, get(1, 0).eax);
    return properties;
}

}  // namespace halcyon
