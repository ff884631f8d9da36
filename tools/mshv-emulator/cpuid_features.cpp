/// The hypervisor's feature banks, and where CPUID shows each feature (Intel SDM 2A, CPUID; AMD APM
/// 3 appendix E; the banks are union hv_partition_processor_features of the kernel's hvhdk.h).
#include "tools/mshv-emulator/cpuid.h"

namespace halcyon::emulator {

namespace {

enum class Output : uint8_t { kEax, kEbx, kEcx, kEdx };

struct Feature {
    uint8_t number;  ///< in its bank
    uint32_t leaf;
    uint8_t subleaf;
    Output output;
    uint8_t bit;
};

using enum Output;

constexpr Feature kBank0[] = {
    {0, 1, 0, kEcx, 0},             // SSE3
    {1, 0x80000001, 0, kEcx, 0},    // LAHF/SAHF
    {2, 1, 0, kEcx, 9},             // SSSE3
    {3, 1, 0, kEcx, 19},            // SSE4.1
    {4, 1, 0, kEcx, 20},            // SSE4.2
    {5, 0x80000001, 0, kEcx, 6},    // SSE4a
    {6, 0x80000001, 0, kEcx, 11},   // XOP
    {7, 1, 0, kEcx, 23},            // POPCNT
    {8, 1, 0, kEcx, 13},            // CMPXCHG16B
    {9, 0x80000001, 0, kEcx, 4},    // LOCK MOV CR0 is CR8
    {10, 0x80000001, 0, kEcx, 5},   // LZCNT
    {11, 0x80000001, 0, kEcx, 7},   // misaligned SSE
    {12, 0x80000001, 0, kEdx, 22},  // MMX extensions
    {13, 0x80000001, 0, kEdx, 31},  // 3DNow!
    {14, 0x80000001, 0, kEdx, 30},  // 3DNow! extensions
    {15, 0x80000001, 0, kEdx, 26},  // 1 GiB pages
    {16, 1, 0, kEcx, 25},           // AES
    {17, 1, 0, kEcx, 1},            // PCLMULQDQ
    {18, 1, 0, kEcx, 17},           // PCID
    {19, 0x80000001, 0, kEcx, 16},  // FMA4
    {20, 1, 0, kEcx, 29},           // F16C
    {21, 1, 0, kEcx, 30},           // RDRAND
    {22, 7, 0, kEbx, 0},            // RDFSBASE and its like
    {23, 7, 0, kEbx, 7},            // SMEP
    {24, 7, 0, kEbx, 9},            // fast strings
    {25, 7, 0, kEbx, 3},            // BMI1
    {26, 7, 0, kEbx, 8},            // BMI2
    {29, 1, 0, kEcx, 22},           // MOVBE
    {31, 7, 0, kEbx, 13},           // x87 CS and DS deprecated
    {32, 7, 0, kEbx, 18},           // RDSEED
    {33, 7, 0, kEbx, 19},           // ADX
    {34, 0x80000001, 0, kEcx, 8},   // PREFETCH
    {35, 7, 0, kEbx, 20},           // SMAP
    {36, 7, 0, kEbx, 4},            // HLE
    {37, 7, 0, kEbx, 11},           // RTM
    {38, 0x80000001, 0, kEdx, 27},  // RDTSCP
    {39, 7, 0, kEbx, 23},           // CLFLUSHOPT
    {40, 7, 0, kEbx, 24},           // CLWB
    {41, 7, 0, kEbx, 29},           // SHA
    {42, 7, 0, kEbx, 6},            // x87 pointers saved on exceptions only
    {43, 7, 0, kEbx, 10},           // INVPCID
    {44, 7, 0, kEdx, 26},           // IBRS
    {45, 7, 0, kEdx, 27},           // STIBP
    {49, 7, 0, kEdx, 4},            // fast short REP MOV
    {50, 7, 0, kEdx, 28},           // L1D_FLUSH
    {57, 7, 0, kEcx, 22},           // RDPID
    {58, 7, 0, kEcx, 2},            // UMIP
    {60, 7, 0, kEdx, 10},           // MD_CLEAR
};

constexpr Feature kBank1[] = {
    {0, 6, 0, kEcx, 0},            // APERF, MPERF
    {1, 0x80000007, 0, kEdx, 8},   // invariant TSC
    {2, 0x80000008, 0, kEbx, 0},   // CLZERO
    {3, 0x80000008, 0, kEbx, 4},   // RDPRU
    {4, 7, 0, kEcx, 16},           // LA57
    {6, 1, 0, kEcx, 5},            // VMX
    {7, 0x80000008, 0, kEbx, 28},  // PSFD
    {8, 7, 0, kEcx, 7},            // shadow stacks
    {9, 7, 0, kEdx, 20},           // indirect branch tracking
    {11, 7, 0, kEcx, 29},          // ENQCMD
    {12, 7, 0, kEcx, 5},           // UMONITOR, UMWAIT, TPAUSE
    {13, 7, 0, kEcx, 27},          // MOVDIRI
    {14, 7, 0, kEcx, 28},          // MOVDIR64B
    {15, 7, 0, kEcx, 25},          // CLDEMOTE
    {16, 7, 0, kEdx, 14},          // SERIALIZE
    {17, 1, 0, kEcx, 24},          // TSC deadline
    {18, 7, 0, kEbx, 1},           // TSC_ADJUST
    {19, 7, 1, kEax, 10},          // fast zero-length REP MOVSB
    {20, 7, 1, kEax, 11},          // fast short REP STOSB
    {21, 7, 1, kEax, 12},          // fast short REP CMPSB, SCASB
    {22, 7, 0, kEdx, 16},          // TSX suspend load tracking
};

constexpr Feature kXsaveBank[] = {
    {0, 1, 0, kEcx, 26},    // XSAVE
    {1, 0xd, 1, kEax, 0},   // XSAVEOPT
    {2, 1, 0, kEcx, 28},    // AVX
    {3, 7, 0, kEbx, 5},     // AVX2
    {4, 1, 0, kEcx, 12},    // FMA
    {5, 7, 0, kEbx, 14},    // MPX
    {6, 7, 0, kEbx, 16},    // AVX512F
    {7, 7, 0, kEbx, 17},    // AVX512DQ
    {8, 7, 0, kEbx, 28},    // AVX512CD
    {9, 7, 0, kEbx, 30},    // AVX512BW
    {10, 7, 0, kEbx, 31},   // AVX512VL
    {11, 0xd, 1, kEax, 1},  // XSAVEC
    {12, 0xd, 1, kEax, 3},  // XSAVES
    {13, 0xd, 1, kEax, 2},  // XGETBV with ECX 1
    {14, 7, 0, kEcx, 12},   // AVX512_BITALG
    {15, 7, 0, kEbx, 21},   // AVX512_IFMA
    {16, 7, 0, kEcx, 1},    // AVX512_VBMI
    {17, 7, 0, kEcx, 6},    // AVX512_VBMI2
    {18, 7, 0, kEcx, 11},   // AVX512_VNNI
    {19, 7, 0, kEcx, 8},    // GFNI
    {20, 7, 0, kEcx, 9},    // VAES
    {21, 7, 0, kEcx, 14},   // AVX512_VPOPCNTDQ
    {22, 7, 0, kEcx, 10},   // VPCLMULQDQ
    {23, 7, 1, kEax, 5},    // AVX512_BF16
    {24, 7, 0, kEdx, 8},    // AVX512_VP2INTERSECT
    {25, 7, 0, kEdx, 23},   // AVX512_FP16
    {26, 0xd, 1, kEax, 4},  // XFD
    {27, 7, 0, kEdx, 24},   // AMX-TILE
    {28, 7, 0, kEdx, 22},   // AMX-BF16
    {29, 7, 0, kEdx, 25},   // AMX-INT8
    {30, 7, 1, kEax, 4},    // AVX-VNNI
};

uint32_t& output_of(kvm_cpuid_entry2& entry, Output output) {
    switch (output) {
        case kEax:
            return entry.eax;
        case kEbx:
            return entry.ebx;
        case kEcx:
            return entry.ecx;
        case kEdx:
            break;
    }
    return entry.edx;
}

template <size_t Size>
uint64_t read_bank(const CpuidEntries& entries, const Feature (&features)[Size]) {
    uint64_t bank = 0;
    for (const Feature& feature : features) {
        const kvm_cpuid_entry2* entry = find_leaf(entries, feature.leaf, feature.subleaf);
        if (entry == nullptr) {
            continue;
        }
        kvm_cpuid_entry2 copy = *entry;
        const uint64_t present = output_of(copy, feature.output) >> feature.bit & 1;
        bank |= present << feature.number;
    }
    return bank;
}

template <size_t Size>
void clear_bank(CpuidEntries& entries, const Feature (&features)[Size], uint64_t disabled) {
    for (const Feature& feature : features) {
        kvm_cpuid_entry2* entry = find_leaf(entries, feature.leaf, feature.subleaf);
        if (entry != nullptr && (disabled >> feature.number & 1) != 0) {
            output_of(*entry, feature.output) &= ~(uint32_t{1} << feature.bit);
        }
    }
}

/// States of XCR0 that go with a feature of the xsave bank (Intel SDM 1 13.1).
struct FeatureStates {
    uint8_t number;
    uint64_t states;
};
constexpr FeatureStates kStates[] = {{2, 0x4}, {5, 0x18}, {6, 0xe0}, {27, 0x60000}};

void disable_states(CpuidEntries& entries, uint64_t disabled) {
    kvm_cpuid_entry2* main = find_leaf(entries, 0xd, 0);
    if (main == nullptr) {
        return;
    }
    uint64_t gone = 0;
    for (const FeatureStates& feature : kStates) {
        if ((disabled >> feature.number & 1) != 0) {
            gone |= feature.states;
        }
    }
    if ((disabled >> 2 & 1) != 0) {
        gone |= 0xe0;  // AVX-512 needs AVX
    }
    main->eax &= ~static_cast<uint32_t>(gone);
    std::erase_if(entries, [&](const kvm_cpuid_entry2& entry) {
        return entry.function == 0xd && entry.index >= 2 && entry.index < 64 &&
               (gone >> entry.index & 1) != 0;
    });
}

}  // namespace

ProcessorFeatures processor_features(const CpuidEntries& entries) {
    ProcessorFeatures features;
    features.banks = {read_bank(entries, kBank0), read_bank(entries, kBank1)};
    features.xsave = read_bank(entries, kXsaveBank);
    return features;
}

void disable_features(CpuidEntries& entries, const ProcessorFeatures& disabled) {
    clear_bank(entries, kBank0, disabled.banks[0]);
    clear_bank(entries, kBank1, disabled.banks[1]);
    clear_bank(entries, kXsaveBank, disabled.xsave);
    disable_states(entries, disabled.xsave);
}

}  // namespace halcyon::emulator
