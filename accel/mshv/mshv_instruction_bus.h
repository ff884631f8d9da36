/// GuestAccess: what the instruction executor reaches of the guest through one VP.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "accel/guest_io.h"
#include "accel/mshv/instruction.h"
#include "accel/mshv/mshv_memory.h"
#include "accel/mshv/mshv_registers.h"

namespace halcyon::mshv {

/// An address whose translation the hypervisor told with an intercept: the access that it stopped.
struct KnownTranslation {
    uint64_t linear;
    Gpa physical;
    bool write;
};

/// The InstructionBus of one instruction on one VP; made for it, on the VP's thread, and gone with
/// it. Linear addresses are translated by the hypervisor (TRANSLATE_VIRTUAL_ADDRESS) with the
/// rights of the instruction's privilege level, unless paging is off or the intercept told; each
/// page once. Memory is accessed through the MemoryMap, everything else through GuestIo.
class GuestAccess final : public InstructionBus, private MmxRegisters {
public:
    /// `registers` and `cpl` as at the start of the instruction.
    GuestAccess(VpRegisters& vp, const MemoryMap& memory, GuestIo& io,
                const VcpuRegisters& registers, unsigned cpl);

    /// What the intercept's message says of its address.
    void know(const KnownTranslation& known);

    std::optional<AccessFault> fetch(uint64_t linear, std::span<std::byte> bytes) override;
    std::optional<AccessFault> read(uint64_t linear, std::span<std::byte> data) override;
    std::optional<AccessFault> write(uint64_t linear, std::span<const std::byte> data) override;
    std::optional<AccessFault> check_write(uint64_t linear, size_t size) override;
    std::optional<AccessFault> check_read(uint64_t linear, size_t size) override;
    void port_read(uint16_t port, std::span<std::byte> data) override;
    void port_write(uint16_t port, std::span<const std::byte> data) override;
    std::optional<AccessFault> read_xmm(unsigned index, std::span<std::byte, 16> data) override;
    std::optional<AccessFault> write_xmm(unsigned index,
                                         std::span<const std::byte, 16> data) override;
    MmxRegisters* mmx() override { return this; }

private:
    std::optional<AccessFault> read_mmx(unsigned index, std::span<std::byte, 8> data) override;
    std::optional<AccessFault> write_mmx(unsigned index,
                                         std::span<const std::byte, 8> data) override;
    Result<void> enter_mmx();

    enum class Kind : uint8_t { kRead, kWrite, kFetch };
    /// A translation, or why there is none.
    struct Translation {
        Gpa physical;
        std::optional<AccessFault> fault;
    };
    struct CachedPage {
        uint64_t linear_page;
        uint64_t physical_page;
        Kind kind;
    };

    Translation translate(uint64_t linear, Kind kind);
    Result<TranslateOutput> ask_hypervisor(uint64_t linear_page, uint64_t flags);
    [[nodiscard]] uint64_t rights(Kind kind) const;
    [[nodiscard]] AccessFault page_fault(uint64_t linear, Kind kind, bool present,
                                         bool reserved_bits) const;
    void remember(uint64_t linear_page, uint64_t physical_page, Kind kind);

    VpRegisters& vp_;
    const MemoryMap& memory_;
    GuestIo& io_;
    const bool paging_;
    const uint64_t cr4_;
    const uint64_t rflags_;
    const uint64_t efer_;
    const unsigned cpl_;
    /// The last translations, for instructions that come back to the same pages: a move has two,
    /// each of which may cross a page's end.
    std::array<CachedPage, 4> cache_{};
    size_t cached_ = 0;
};

}  // namespace halcyon::mshv
