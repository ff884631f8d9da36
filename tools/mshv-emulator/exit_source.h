/// The guest's memory as seen from one of its vCPUs at an exit.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "tools/mshv-emulator/guest_memory.h"
#include "tools/mshv-emulator/kvm.h"
#include "tools/mshv-emulator/translate.h"
#include "tools/mshv-emulator/undo.h"

namespace halcyon::emulator {

/// For one exit: keeps the translations and the bytes around RIP that it has looked up.
class ExitSource final : public InstructionSource {
public:
    ExitSource(GuestMemory& memory, KvmVcpu& vcpu, const kvm_regs& regs, const kvm_sregs& sregs,
               uint8_t physical_width);

    size_t read(uint64_t linear, void* to, size_t size) override;
    std::optional<uint64_t> translate(uint64_t linear) override;
    bool read_xmm(unsigned index, std::array<uint8_t, 16>& value) override;

private:
    size_t read_pages(uint64_t linear, uint8_t* to, size_t size);

    struct Page {
        uint64_t linear = 1;  ///< no page's
        std::optional<uint64_t> gpa;
    };
    GuestMemory& memory_;
    KvmVcpu& vcpu_;
    const PagingState paging_;
    std::array<Page, 4> pages_;
    unsigned next_page_ = 0;
    /// What lies around RIP: all that is looked at of the code.
    uint64_t window_start_;
    size_t window_size_ = 0;
    bool window_is_known_ = false;
    std::array<uint8_t, 32> window_{};
    std::optional<kvm_fpu> fpu_;
};

}  // namespace halcyon::emulator
