#include "tools/mshv-emulator/exit_source.h"

#include <algorithm>
#include <cstring>

namespace halcyon::emulator {

namespace {
constexpr uint64_t kPageSize = 4096;
/// Of the window, what lies before RIP.
constexpr uint64_t kBeforeRip = 16;
}  // namespace

ExitSource::ExitSource(GuestMemory& memory, KvmVcpu& vcpu, const kvm_regs& regs,
                       const kvm_sregs& sregs, uint8_t physical_width)
    : memory_(memory),
      vcpu_(vcpu),
      paging_(paging_state(regs, sregs, physical_width)),
      window_start_(code_address(regs, sregs) - kBeforeRip) {}

std::optional<uint64_t> ExitSource::translate(uint64_t linear) {
    const uint64_t page = linear & ~(kPageSize - 1);
    for (const Page& known : pages_) {
        if (known.linear == page) {
            return known.gpa ? std::optional(*known.gpa + linear % kPageSize) : std::nullopt;
        }
    }
    const Translation result =
        emulator::translate(memory_, paging_, page, mshv::kTranslatePrivilegeExempt);
    // Not being backed by memory is what is looked for.
    const bool is_mapped = result.result == mshv::TranslateResult::kSuccess ||
                           result.result == mshv::TranslateResult::kGpaUnmapped ||
                           result.result == mshv::TranslateResult::kGpaNoReadAccess ||
                           result.result == mshv::TranslateResult::kGpaNoWriteAccess;
    Page& slot = pages_[next_page_++ % pages_.size()];
    slot.linear = page;
    slot.gpa = is_mapped ? std::optional(result.gpa) : std::nullopt;
    return slot.gpa ? std::optional(*slot.gpa + linear % kPageSize) : std::nullopt;
}

size_t ExitSource::read_pages(uint64_t linear, uint8_t* to, size_t size) {
    size_t done = 0;
    while (done < size) {
        const auto gpa = translate(linear + done);
        const size_t count = std::min<size_t>(size - done, kPageSize - (linear + done) % kPageSize);
        if (!gpa || !memory_.read(*gpa, to + done, count)) {
            break;
        }
        done += count;
    }
    return done;
}

size_t ExitSource::read(uint64_t linear, void* to, size_t size) {
    const uint64_t offset = linear - window_start_;
    const bool is_inside = offset < window_.size() && offset + size <= window_.size();
    if (is_inside && !window_is_known_) {
        window_is_known_ = true;
        window_size_ = read_pages(window_start_, window_.data(), window_.size());
    }
    if (!is_inside || window_size_ == 0) {
        return read_pages(linear, static_cast<uint8_t*>(to), size);
    }
    const size_t count = offset < window_size_ ? std::min<size_t>(size, window_size_ - offset) : 0;
    std::memcpy(to, window_.data() + offset, count);
    return count;
}

bool ExitSource::read_xmm(unsigned index, std::array<uint8_t, 16>& value) {
    if (!fpu_) {
        fpu_.emplace();
        if (vcpu_.ioctl(KVM_GET_FPU, &*fpu_) != 0) {
            fpu_.reset();
            return false;
        }
    }
    std::memcpy(value.data(), fpu_->xmm[index & 15U], value.size());
    return true;
}

}  // namespace halcyon::emulator
