#include "accel/mshv/mshv_instruction_bus.h"

#include <algorithm>
#include <bit>
#include <cinttypes>
#include <cstdio>
#include <cstring>

namespace halcyon::mshv {

namespace {

// Intel SDM 3A 2.5, 2.3, 2.2.1.
constexpr uint64_t kCr0Paging = uint64_t{1} << 31;
constexpr uint64_t kCr4Smep = uint64_t{1} << 20;
constexpr uint64_t kCr4Smap = uint64_t{1} << 21;
constexpr uint64_t kRflagsAlignmentCheck = uint64_t{1} << 18;
constexpr uint64_t kEferNoExecute = uint64_t{1} << 11;

// The page fault's error code (Intel SDM 3A 4.7).
constexpr uint8_t kPageFaultVector = 14;
constexpr uint32_t kFaultPresent = 1U << 0;
constexpr uint32_t kFaultWrite = 1U << 1;
constexpr uint32_t kFaultUser = 1U << 2;
constexpr uint32_t kFaultReservedBits = 1U << 3;
constexpr uint32_t kFaultFetch = 1U << 4;

// RegisterName::kFpControlStatus (union hv_x64_fp_control_status_register): 16-31 the status word,
// of which 11-13 are TOP; 32-39 the tags, a bit for each register that is in use.
constexpr unsigned kFpTopShift = 16 + 11;
constexpr uint64_t kFpTop = uint64_t{7} << kFpTopShift;
constexpr uint64_t kFpTags = uint64_t{0xff} << 32;
constexpr unsigned kFpRegisters = 8;

/// The widest access of a bus.
constexpr size_t kWidestAccess = 8;

std::string describe(const char* what, uint64_t address) {
    char text[96];
    std::snprintf(text, sizeof(text), "%s 0x%" PRIx64, what, address);
    return text;
}

AccessFault failure(std::string what) {
    return {.exception = std::nullopt, .failure = std::move(what)};
}

/// Calls `access(offset, width)` for the pieces of `size` bytes, each of a width that a bus has.
template <typename Access>
void in_pieces(size_t size, const Access& access) {
    for (size_t done = 0; done < size;) {
        const size_t width = std::min(std::bit_floor(size - done), kWidestAccess);
        access(done, width);
        done += width;
    }
}

}  // namespace

GuestAccess::GuestAccess(VpRegisters& vp, const MemoryMap& memory, GuestIo& io,
                         const VcpuRegisters& registers, unsigned cpl)
    : vp_(vp),
      memory_(memory),
      io_(io),
      paging_((registers.cr0 & kCr0Paging) != 0),
      cr4_(registers.cr4),
      rflags_(registers.rflags),
      efer_(registers.efer),
      cpl_(cpl) {}

void GuestAccess::know(const KnownTranslation& known) {
    remember(known.linear / kHvPageSize, known.physical.value() / kHvPageSize,
             known.write ? Kind::kWrite : Kind::kRead);
}

// ---- translation ----

void GuestAccess::remember(uint64_t linear_page, uint64_t physical_page, Kind kind) {
    cache_[cached_++ % cache_.size()] = {linear_page, physical_page, kind};
}

uint64_t GuestAccess::rights(Kind kind) const {
    uint64_t flags = kTranslateSetPageTableBits;
    switch (kind) {
        case Kind::kRead:
            flags |= kTranslateValidateRead;
            break;
        case Kind::kWrite:
            flags |= kTranslateValidateRead | kTranslateValidateWrite;
            break;
        case Kind::kFetch:
            flags |= kTranslateValidateExecute;
            break;
    }
    if (cpl_ == 3) {
        return flags | kTranslateUserAccess;
    }
    flags |= kTranslateSupervisorAccess;
    if ((cr4_ & kCr4Smap) != 0 && kind != Kind::kFetch) {
        flags |=
            (rflags_ & kRflagsAlignmentCheck) != 0 ? kTranslateOverrideSmap : kTranslateEnforceSmap;
    }
    return flags;
}

Result<TranslateOutput> GuestAccess::ask_hypervisor(uint64_t linear_page, uint64_t flags) {
    const TranslateInput input{.partition_id = 0,
                               .vp_index = vp_.vp_index(),
                               .reserved = 0,
                               .flags = flags,
                               .gva_page = linear_page};
    return vp_.port().call_for<TranslateOutput>(HypercallCode::kTranslateVirtualAddress, input);
}

GuestAccess::Translation GuestAccess::translate(uint64_t linear, Kind kind) {
    if (!paging_) {
        return {.physical = Gpa(linear & 0xffffffff), .fault = {}};
    }
    const uint64_t page = linear / kHvPageSize;
    const uint64_t offset = linear % kHvPageSize;
    for (size_t i = 0; i < std::min(cached_, cache_.size()); ++i) {
        // What may be written may be read, on x86.
        const CachedPage& cached = cache_[i];
        if (cached.linear_page == page &&
            (cached.kind == kind || (cached.kind == Kind::kWrite && kind == Kind::kRead))) {
            return {.physical = Gpa(cached.physical_page * kHvPageSize + offset), .fault = {}};
        }
    }
    const uint64_t flags = rights(kind);
    auto asked = ask_hypervisor(page, flags);
    if (asked && (asked->result == TranslateResult::kGpaUnmapped ||
                  asked->result == TranslateResult::kGpaNoReadAccess ||
                  asked->result == TranslateResult::kGpaNoWriteAccess)) {
        // The guest's tables allow it, but there is no memory, or none to write: what that means is
        // decided below. The walk without the checks tells where it leads.
        asked = ask_hypervisor(page, kTranslatePrivilegeExempt);
    }
    if (!asked) {
        return {.physical = {}, .fault = failure(asked.error().message())};
    }
    switch (asked->result) {
        case TranslateResult::kSuccess:
            remember(page, asked->gpa_page, kind);
            return {.physical = Gpa(asked->gpa_page * kHvPageSize + offset), .fault = {}};
        case TranslateResult::kPageNotPresent:
            return {.physical = {}, .fault = page_fault(linear, kind, false, false)};
        case TranslateResult::kPrivilegeViolation:
            return {.physical = {}, .fault = page_fault(linear, kind, true, false)};
        case TranslateResult::kInvalidPageTableFlags:
            return {.physical = {}, .fault = page_fault(linear, kind, true, true)};
        case TranslateResult::kGpaUnmapped:
        case TranslateResult::kGpaNoReadAccess:
        case TranslateResult::kGpaNoWriteAccess:
        case TranslateResult::kGpaIllegalOverlayAccess:
        case TranslateResult::kIntercept:
        case TranslateResult::kGpaUnaccepted:
            break;
    }
    return {
        .physical = {},
        .fault = failure(describe("the hypervisor cannot translate linear address", linear) +
                         " (result " + std::to_string(static_cast<unsigned>(asked->result)) + ")")};
}

AccessFault GuestAccess::page_fault(uint64_t linear, Kind kind, bool present,
                                    bool reserved_bits) const {
    uint32_t code = present ? kFaultPresent : 0;
    code |= kind == Kind::kWrite ? kFaultWrite : 0;
    code |= cpl_ == 3 ? kFaultUser : 0;
    code |= reserved_bits ? kFaultReservedBits : 0;
    if (kind == Kind::kFetch && ((efer_ & kEferNoExecute) != 0 || (cr4_ & kCr4Smep) != 0)) {
        code |= kFaultFetch;
    }
    return {.exception =
                GuestException{.vector = kPageFaultVector, .error_code = code, .address = linear},
            .failure = {}};
}

// ---- memory ----

std::optional<AccessFault> GuestAccess::fetch(uint64_t linear, std::span<std::byte> bytes) {
    Translation at = translate(linear, Kind::kFetch);
    if (at.fault) {
        return std::move(at.fault);
    }
    if (!memory_.read(at.physical, bytes)) {
        return failure(describe("no memory to fetch an instruction from at", at.physical.value()));
    }
    return std::nullopt;
}

std::optional<AccessFault> GuestAccess::read(uint64_t linear, std::span<std::byte> data) {
    Translation at = translate(linear, Kind::kRead);
    if (at.fault) {
        return std::move(at.fault);
    }
    if (!memory_.read(at.physical, data)) {
        in_pieces(data.size(), [&](size_t offset, size_t width) {
            io_.mmio_read(Gpa(at.physical.value() + offset), data.subspan(offset, width));
        });
    }
    return std::nullopt;
}

std::optional<AccessFault> GuestAccess::write(uint64_t linear, std::span<const std::byte> data) {
    Translation at = translate(linear, Kind::kWrite);
    if (at.fault) {
        return std::move(at.fault);
    }
    if (!memory_.write(at.physical, data)) {
        in_pieces(data.size(), [&](size_t offset, size_t width) {
            io_.mmio_write(Gpa(at.physical.value() + offset), data.subspan(offset, width));
        });
    }
    return std::nullopt;
}

std::optional<AccessFault> GuestAccess::check_write(uint64_t linear, size_t /*size*/) {
    return translate(linear, Kind::kWrite).fault;
}

std::optional<AccessFault> GuestAccess::check_read(uint64_t linear, size_t /*size*/) {
    return translate(linear, Kind::kRead).fault;
}

// ---- the rest ----

void GuestAccess::port_read(uint16_t port, std::span<std::byte> data) {
    io_.pio_read(PioPort(port), data);
}

void GuestAccess::port_write(uint16_t port, std::span<const std::byte> data) {
    io_.pio_write(PioPort(port), data);
}

std::optional<AccessFault> GuestAccess::read_xmm(unsigned index, std::span<std::byte, 16> data) {
    const auto value = vp_.get(nth(RegisterName::kXmm0, index));
    if (!value) {
        return failure(value.error().message());
    }
    std::memcpy(data.data(), &*value, sizeof(*value));
    return std::nullopt;
}

std::optional<AccessFault> GuestAccess::write_xmm(unsigned index,
                                                  std::span<const std::byte, 16> data) {
    RegisterValue value;
    std::memcpy(&value, data.data(), sizeof(value));
    const auto set = vp_.set({assign(nth(RegisterName::kXmm0, index), value)});
    return set ? std::nullopt : std::optional(failure(set.error().message()));
}

/// Makes the x87 unit what an MMX instruction leaves: TOP 0, all registers in use. The hypervisor
/// numbers the registers from TOP, as FXSAVE does; MMX numbers them from 0.
Result<void> GuestAccess::enter_mmx() {
    std::array<RegisterName, kFpRegisters + 1> names;
    std::array<RegisterValue, kFpRegisters + 1> values;
    for (unsigned i = 0; i < kFpRegisters; ++i) {
        names[i] = nth(RegisterName::kFpMmx0, i);
    }
    names[kFpRegisters] = RegisterName::kFpControlStatus;
    TRY(vp_.get(names, values));
    RegisterValue control = values[kFpRegisters];
    const uint64_t top = (control.low & kFpTop) >> kFpTopShift;
    if (top == 0 && (control.low & kFpTags) == kFpTags) {
        return {};
    }
    control.low = (control.low & ~kFpTop) | kFpTags;
    std::array<RegisterAssociation, kFpRegisters + 1> set;
    for (unsigned i = 0; i < kFpRegisters; ++i) {
        set[i] = assign(names[i], values[(i - top) % kFpRegisters]);
    }
    set[kFpRegisters] = assign(RegisterName::kFpControlStatus, control);
    return vp_.set(set);
}

std::optional<AccessFault> GuestAccess::read_mmx(unsigned index, std::span<std::byte, 8> data) {
    if (const auto entered = enter_mmx(); !entered) {
        return failure(entered.error().message());
    }
    const auto value = vp_.get(nth(RegisterName::kFpMmx0, index));
    if (!value) {
        return failure(value.error().message());
    }
    std::memcpy(data.data(), &value->low, data.size());
    return std::nullopt;
}

std::optional<AccessFault> GuestAccess::write_mmx(unsigned index,
                                                  std::span<const std::byte, 8> data) {
    if (const auto entered = enter_mmx(); !entered) {
        return failure(entered.error().message());
    }
    RegisterValue value{.low = 0, .high = 0xffff};
    std::memcpy(&value.low, data.data(), data.size());
    const auto set = vp_.set({assign(nth(RegisterName::kFpMmx0, index), value)});
    return set ? std::nullopt : std::optional(failure(set.error().message()));
}

}  // namespace halcyon::mshv
