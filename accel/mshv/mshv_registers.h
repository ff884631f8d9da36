/// A VP's registers: by name through hypercalls, as a VcpuRegisters, and through the register page.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <utility>
#include <vector>

#include "accel/mshv/mshv_hypercall.h"
#include "accel/mshv/mshv_messages.h"
#include "accel/vcpu.h"

namespace halcyon::mshv {

/// A register and its value, as SET_VP_REGISTERS takes them.
constexpr RegisterAssociation assign(RegisterName name, RegisterValue value) {
    return {.name = name, .reserved1 = 0, .reserved2 = 0, .value = value};
}
constexpr RegisterAssociation assign(RegisterName name, uint64_t value) {
    return assign(name, RegisterValue{.low = value, .high = 0});
}

/// The register that follows `first` at a distance of `index`: R8 is kRax's number 8.
constexpr RegisterName nth(RegisterName first, unsigned index) {
    return RegisterName{static_cast<uint32_t>(first) + index};
}

/// The registers of one VP, by hypercalls on its own descriptor: for the VP's thread outside
/// MSHV_RUN_VP, or another while that one is parked. Each call is one hypercall.
class VpRegisters {
public:
    VpRegisters(Driver& driver, int vp_fd, uint32_t vp_index)
        : port_(driver, vp_fd), vp_index_(vp_index) {}

    Result<void> get(std::span<const RegisterName> names, std::span<RegisterValue> values);
    Result<RegisterValue> get(RegisterName name);
    Result<void> set(std::span<const RegisterAssociation> registers);
    Result<void> set(std::initializer_list<RegisterAssociation> registers) {
        return set(std::span(registers.begin(), registers.size()));
    }
    /// Those of the list that this hypervisor has for this guest; the others are passed over. One
    /// call, and two for each that it does not have.
    void set_available(std::span<const RegisterAssociation> registers);

    [[nodiscard]] HypercallPort& port() { return port_; }
    [[nodiscard]] const HypercallPort& port() const { return port_; }
    [[nodiscard]] uint32_t vp_index() const { return vp_index_; }

private:
    HypercallOutcome try_set(std::span<const RegisterAssociation> registers);

    HypercallPort port_;
    const uint32_t vp_index_;
};

/// All of VcpuRegisters, in one call.
Result<VcpuRegisters> get_vcpu_registers(VpRegisters& vp);
Result<void> set_vcpu_registers(VpRegisters& vp, const VcpuRegisters& registers);

/// Those general registers, RIP, RFLAGS and segments that differ from `before`, in one call; none
/// if nothing does.
Result<void> set_changed_registers(VpRegisters& vp, const VcpuRegisters& before,
                                   const VcpuRegisters& after);

/// What an instruction can use of VcpuRegisters is on a valid register page; CR2, LDT, TR, GDT and
/// IDT are not, and stay as they are in `registers`.
void load_from_page(const RegisterPage& page, VcpuRegisters& registers);
/// Puts what set_changed_registers would set on the page, and marks it.
void store_to_page(RegisterPage& page, const VcpuRegisters& before, const VcpuRegisters& after);

/// The assignments that say by hypercall what is marked on the page.
[[nodiscard]] std::vector<RegisterAssociation> dirty_registers(const RegisterPage& page);

}  // namespace halcyon::mshv
