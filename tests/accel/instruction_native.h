/// Runs one instruction on the processor itself, in this process, for comparison with the executor.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace halcyon::testing_support {

/// Registers before and after. The assembly in instruction_native.cpp knows the layout.
struct NativeRegisters {
    std::array<uint64_t, 16> gpr{};
    uint64_t rflags = 2;
    uint64_t reserved = 0;
    std::array<std::array<std::byte, 16>, 16> xmm{};
    std::array<std::array<std::byte, 8>, 8> mmx{};
    uint32_t code_offset = 0;
    uint16_t code_selector = 0;
    uint16_t stack_selector = 0;
    uint64_t host_stack = 0;
    /// Whether the instruction branched to `NativeProcessor::branch_target`.
    uint64_t branched = 0;
};

/// What the kernel said of an exception.
struct NativeFault {
    unsigned vector = 0;
    uint64_t error_code = 0;
    uint64_t address = 0;
    uint64_t rip = 0;
};

/// A code segment to run in, and the selectors of the data segments. FS is left alone: the thread's
/// own variables are behind it.
struct NativeSegments {
    unsigned code_bits = 64;
    uint16_t cs = 0, ss = 0, ds = 0, es = 0, gs = 0;
    uint32_t code_base = 0;
};

/// A descriptor of the local descriptor table.
struct NativeDescriptor {
    uint32_t base = 0;
    uint32_t limit = 0;
    bool big = false;
    bool code = false;
    bool expand_down = false;
    bool writable = true;
    /// As SegmentRegister::attributes, for privilege 3.
    [[nodiscard]] uint16_t attributes() const;
};

/// Pages at fixed addresses below 2 GiB, and what goes there and comes back. One at a time.
class NativeProcessor {
public:
    static constexpr uint64_t kPage = 4096;
    /// Code: kCodeSize bytes, writable and executable.
    static constexpr uint64_t kCode = 0x20000000;
    static constexpr uint64_t kCodeSize = kPage;
    /// Data: one page that is not there, kWritablePages, one that is read-only, one not there.
    static constexpr uint64_t kData = 0x21001000;
    static constexpr uint64_t kWritablePages = 3;
    static constexpr uint64_t kDataSize = (kWritablePages + 1) * kPage;
    // Of the kernel: arch/x86/include/asm/segment.h.
    static constexpr uint16_t kCode64 = 0x33;
    static constexpr uint16_t kCode32 = 0x23;
    static constexpr uint16_t kData32 = 0x2b;

    /// Why this machine cannot do it; nothing when it can.
    static std::optional<std::string> unavailable();
    static bool has_local_descriptors();

    NativeProcessor();
    ~NativeProcessor();
    NativeProcessor(const NativeProcessor&) = delete;
    NativeProcessor& operator=(const NativeProcessor&) = delete;

    /// The data as it is in memory.
    [[nodiscard]] std::span<std::byte> data() const;
    /// Writes to data, also to what is read-only.
    void set_data(std::span<const std::byte> bytes);

    /// Sets an entry of the local descriptor table; gives its selector.
    static uint16_t set_descriptor(unsigned entry, const NativeDescriptor& descriptor);
    static void set_gs_base(uint64_t base);
    static uint64_t fs_base();
    /// Where a branch may go, as linear address.
    static uint64_t branch_target(unsigned code_bits);

    /// Runs `instruction` at kCode + `at`.
    static std::optional<NativeFault> run(NativeRegisters& registers,
                                          const NativeSegments& segments,
                                          std::span<const std::byte> instruction, uint32_t at);
};

}  // namespace halcyon::testing_support
