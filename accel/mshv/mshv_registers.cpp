#include "accel/mshv/mshv_registers.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace halcyon::mshv {

namespace {

constexpr unsigned kGprCount = 16;

/// The segments, in the order of their names from kEs on.
constexpr SegmentRegister VcpuRegisters::*kSegments[] = {
    &VcpuRegisters::es, &VcpuRegisters::cs, &VcpuRegisters::ss,  &VcpuRegisters::ds,
    &VcpuRegisters::fs, &VcpuRegisters::gs, &VcpuRegisters::ldt, &VcpuRegisters::tr};
constexpr size_t kSegmentCount = std::size(kSegments);
/// Of those, the ones on the register page, in its order.
constexpr Segment RegisterPage::*kPageSegments[] = {&RegisterPage::es, &RegisterPage::cs,
                                                    &RegisterPage::ss, &RegisterPage::ds,
                                                    &RegisterPage::fs, &RegisterPage::gs};

/// A 64-bit register: its name for reading, its name for writing, its place.
struct PlainRegister {
    RegisterName get;
    RegisterName set;
    uint64_t VcpuRegisters::*member;
};
/// Control registers are written by their intermediate names where there are such: by the plain
/// ones the hypervisor compares each with the present values of the others.
constexpr PlainRegister kPlain[] = {
    {RegisterName::kRip, RegisterName::kRip, &VcpuRegisters::rip},
    {RegisterName::kRflags, RegisterName::kRflags, &VcpuRegisters::rflags},
    {RegisterName::kCr0, RegisterName::kIntermediateCr0, &VcpuRegisters::cr0},
    {RegisterName::kCr2, RegisterName::kCr2, &VcpuRegisters::cr2},
    {RegisterName::kCr3, RegisterName::kIntermediateCr3, &VcpuRegisters::cr3},
    {RegisterName::kCr4, RegisterName::kIntermediateCr4, &VcpuRegisters::cr4},
    {RegisterName::kEfer, RegisterName::kEfer, &VcpuRegisters::efer},
};
constexpr size_t kPlainCount = std::size(kPlain);

constexpr size_t kGdtAt = kGprCount + kPlainCount + kSegmentCount;
constexpr size_t kIdtAt = kGdtAt + 1;
constexpr size_t kCount = kIdtAt + 1;

template <typename To, typename From>
To as(const From& from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &from, sizeof(to));
    return to;
}

SegmentRegister from_hv(const Segment& segment) {
    return {.base = segment.base,
            .limit = segment.limit,
            .selector = segment.selector,
            .attributes = segment.attributes};
}
Segment to_hv(const SegmentRegister& segment) {
    return {.base = segment.base,
            .limit = segment.limit,
            .selector = segment.selector,
            .attributes = segment.attributes};
}
TableRegister table_from_hv(const RegisterValue& value) {
    const auto table = as<Table>(value);
    return {.base = table.base, .limit = table.limit};
}
RegisterValue table_to_hv(const TableRegister& table) {
    return as<RegisterValue>(Table{.reserved = {}, .limit = table.limit, .base = table.base});
}
RegisterAssociation assign_segment(size_t index, const SegmentRegister& segment) {
    return assign(nth(RegisterName::kEs, static_cast<unsigned>(index)),
                  as<RegisterValue>(to_hv(segment)));
}

std::array<RegisterName, kCount> all_names() {
    std::array<RegisterName, kCount> names{};
    size_t at = 0;
    for (unsigned i = 0; i < kGprCount; ++i) {
        names[at++] = nth(RegisterName::kRax, i);
    }
    for (const PlainRegister& plain : kPlain) {
        names[at++] = plain.get;
    }
    for (unsigned i = 0; i < kSegmentCount; ++i) {
        names[at++] = nth(RegisterName::kEs, i);
    }
    names[kGdtAt] = RegisterName::kGdtr;
    names[kIdtAt] = RegisterName::kIdtr;
    return names;
}

VpRegistersInput header_for(uint32_t vp_index) {
    VpRegistersInput header{};
    header.vp_index = vp_index;
    return header;
}

}  // namespace

// ---- by name ----

Result<void> VpRegisters::get(std::span<const RegisterName> names,
                              std::span<RegisterValue> values) {
    const VpRegistersInput header = header_for(vp_index_);
    const HypercallPort::List list{.header = std::as_bytes(std::span(&header, 1)),
                                   .input = std::as_bytes(names),
                                   .input_element = sizeof(RegisterName),
                                   .output = std::as_writable_bytes(values),
                                   .output_element = sizeof(RegisterValue)};
    return port_.try_call(HypercallCode::kGetVpRegisters, list)
        .to_result(HypercallCode::kGetVpRegisters);
}

Result<RegisterValue> VpRegisters::get(RegisterName name) {
    RegisterValue value{};
    TRY(get(std::span(&name, 1), std::span(&value, 1)));
    return value;
}

HypercallOutcome VpRegisters::try_set(std::span<const RegisterAssociation> registers) {
    const VpRegistersInput header = header_for(vp_index_);
    const HypercallPort::List list{.header = std::as_bytes(std::span(&header, 1)),
                                   .input = std::as_bytes(registers),
                                   .input_element = sizeof(RegisterAssociation)};
    return port_.try_call(HypercallCode::kSetVpRegisters, list);
}

Result<void> VpRegisters::set(std::span<const RegisterAssociation> registers) {
    return try_set(registers).to_result(HypercallCode::kSetVpRegisters);
}

void VpRegisters::set_available(std::span<const RegisterAssociation> registers) {
    while (!registers.empty()) {
        const HypercallOutcome outcome = try_set(registers);
        if (outcome.ok()) {
            return;
        }
        // The first that was not done is the one that is not there; but should the count be wrong,
        // it is set here, and nothing is left out.
        const size_t at = std::min(outcome.done, registers.size() - 1);
        (void)try_set(registers.subspan(at, 1));
        registers = registers.subspan(at + 1);
    }
}

// ---- all at once ----

Result<VcpuRegisters> get_vcpu_registers(VpRegisters& vp) {
    const std::array<RegisterName, kCount> names = all_names();
    std::array<RegisterValue, kCount> values{};
    TRY(vp.get(names, values));
    VcpuRegisters registers;
    size_t at = 0;
    for (uint64_t& gpr : registers.gpr) {
        gpr = values[at++].low;
    }
    for (const PlainRegister& plain : kPlain) {
        registers.*plain.member = values[at++].low;
    }
    for (const auto segment : kSegments) {
        registers.*segment = from_hv(as<Segment>(values[at++]));
    }
    registers.gdt = table_from_hv(values[kGdtAt]);
    registers.idt = table_from_hv(values[kIdtAt]);
    return registers;
}

Result<void> set_vcpu_registers(VpRegisters& vp, const VcpuRegisters& registers) {
    std::array<RegisterAssociation, kCount> list{};
    size_t at = 0;
    for (unsigned i = 0; i < kGprCount; ++i) {
        list[at++] = assign(nth(RegisterName::kRax, i), registers.gpr[i]);
    }
    for (const PlainRegister& plain : kPlain) {
        list[at++] = assign(plain.set, registers.*plain.member);
    }
    for (size_t i = 0; i < kSegmentCount; ++i) {
        list[at++] = assign_segment(i, registers.*kSegments[i]);
    }
    list[kGdtAt] = assign(RegisterName::kGdtr, table_to_hv(registers.gdt));
    list[kIdtAt] = assign(RegisterName::kIdtr, table_to_hv(registers.idt));
    return vp.set(list);
}

// ---- what an instruction changed ----

Result<void> set_changed_registers(VpRegisters& vp, const VcpuRegisters& before,
                                   const VcpuRegisters& after) {
    std::array<RegisterAssociation, kGprCount + 2 + kSegmentCount> list;
    size_t count = 0;
    for (unsigned i = 0; i < kGprCount; ++i) {
        if (after.gpr[i] != before.gpr[i]) {
            list[count++] = assign(nth(RegisterName::kRax, i), after.gpr[i]);
        }
    }
    if (after.rip != before.rip) {
        list[count++] = assign(RegisterName::kRip, after.rip);
    }
    if (after.rflags != before.rflags) {
        list[count++] = assign(RegisterName::kRflags, after.rflags);
    }
    for (size_t i = 0; i < kSegmentCount; ++i) {
        if (after.*kSegments[i] != before.*kSegments[i]) {
            list[count++] = assign_segment(i, after.*kSegments[i]);
        }
    }
    return count == 0 ? Result<void>() : vp.set(std::span(list).first(count));
}

// ---- the page ----

void load_from_page(const RegisterPage& page, VcpuRegisters& registers) {
    std::copy(std::begin(page.gpr), std::end(page.gpr), registers.gpr.begin());
    registers.rip = page.rip;
    registers.rflags = page.rflags;
    for (size_t i = 0; i < std::size(kPageSegments); ++i) {
        registers.*kSegments[i] = from_hv(page.*kPageSegments[i]);
    }
    registers.cr0 = page.cr0;
    registers.cr3 = page.cr3;
    registers.cr4 = page.cr4;
    registers.efer = page.efer;
}

void store_to_page(RegisterPage& page, const VcpuRegisters& before, const VcpuRegisters& after) {
    uint32_t dirty = 0;
    if (after.gpr != before.gpr) {
        std::copy(after.gpr.begin(), after.gpr.end(), std::begin(page.gpr));
        dirty |= kDirtyGpr;
    }
    if (after.rip != before.rip) {
        page.rip = after.rip;
        dirty |= kDirtyRip;
    }
    if (after.rflags != before.rflags) {
        page.rflags = after.rflags;
        dirty |= kDirtyRflags;
    }
    for (size_t i = 0; i < std::size(kPageSegments); ++i) {
        if (after.*kSegments[i] != before.*kSegments[i]) {
            page.*kPageSegments[i] = to_hv(after.*kSegments[i]);
            dirty |= kDirtySegments;
        }
    }
    page.dirty |= dirty;
}

std::vector<RegisterAssociation> dirty_registers(const RegisterPage& page) {
    std::vector<RegisterAssociation> list;
    if ((page.dirty & kDirtyGpr) != 0) {
        for (unsigned i = 0; i < kGprCount; ++i) {
            list.push_back(assign(nth(RegisterName::kRax, i), page.gpr[i]));
        }
    }
    if ((page.dirty & kDirtyRip) != 0) {
        list.push_back(assign(RegisterName::kRip, page.rip));
    }
    if ((page.dirty & kDirtyRflags) != 0) {
        list.push_back(assign(RegisterName::kRflags, page.rflags));
    }
    if ((page.dirty & kDirtySegments) != 0) {
        for (size_t i = 0; i < std::size(kPageSegments); ++i) {
            list.push_back(assign_segment(i, from_hv(page.*kPageSegments[i])));
        }
    }
    return list;
}

}  // namespace halcyon::mshv
