/// GET_GPAP_ACCESS_BITMAP.
#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <limits>

#include "tools/mshv-emulator/hypercalls.h"
#include "tools/mshv-emulator/log.h"
#include "tools/mshv-emulator/options.h"
#include "tools/mshv-emulator/partition.h"
#include "tools/mshv-emulator/trap.h"

namespace halcyon::emulator {

namespace {

using mshv::AccessBitmapOperation;
using mshv::AccessBitmapType;

/// Pages served at a time: what one of the driver's hypercalls does, and a bit more.
constexpr uint64_t kBatch = 0x8000;

/// The driver's bitmap operations as the hypercall's; NOOP runs into SET.
uint64_t state_flags(const mshv::AccessBitmap& request) {
    const bool clear = request.operation == AccessBitmapOperation::kClear;
    if (request.type == AccessBitmapType::kAccessed) {
        // What was not accessed is not dirty either.
        return clear ? kClearAccessed | kClearDirty : uint64_t{kSetAccessed};
    }
    return clear ? uint64_t{kClearDirty} : kSetDirty | kSetAccessed;
}

long check(const mshv::AccessBitmap& request) {
    const bool reserved = std::any_of(std::begin(request.reserved), std::end(request.reserved),
                                      [](uint8_t byte) { return byte != 0; });
    if (request.type > AccessBitmapType::kDirty ||
        request.operation > AccessBitmapOperation::kSet || reserved || request.page_count == 0 ||
        request.bitmap_pointer == 0) {
        return -EINVAL;
    }
    return request.page_count > std::numeric_limits<int32_t>::max() ? -E2BIG : 0;
}

/// Bit 0 of a state is accessed, 1 dirty.
void add_states(std::vector<uint8_t>& bitmap, uint64_t first, const std::vector<uint8_t>& states,
                uint64_t count, AccessBitmapType type) {
    const unsigned bit = type == AccessBitmapType::kDirty ? 1 : 0;
    for (uint64_t i = 0; i < count; ++i) {
        const auto value = static_cast<unsigned>(states[i] >> bit & 1);
        bitmap[(first + i) / 8] |= static_cast<uint8_t>(value << (first + i) % 8);
    }
}

}  // namespace

long Partition::get_access_bitmap(unsigned long argument) {
    mshv::AccessBitmap request{};
    if (copy_from_program(&request, argument, sizeof(request)) < 0) {
        return -EFAULT;
    }
    if (const long error = check(request); error < 0) {
        return error;
    }
    const bool fail = due(fault_counters_.bitmap_failure, options().faults.bitmap_failure);
    const uint64_t end = fail ? request.page_count / 2 : request.page_count;
    std::vector<uint8_t> bitmap((request.page_count + 7) / 8);
    std::vector<uint8_t> states(std::min(request.page_count, kBatch));
    for (uint64_t page = 0; page < end;) {
        uint64_t done = 0;
        const mshv::HvStatus status =
            memory_.page_states(request.first_gpa_page + page, std::min(end - page, kBatch),
                                state_flags(request), states.data(), done);
        add_states(bitmap, page, states, done, request.type);
        page += done;
        if (status != mshv::HvStatus::kSuccess) {
            log_line("GET_GPAP_ACCESS_BITMAP: status 0x%x after 0x%" PRIx64 " pages",
                     static_cast<unsigned>(status), page);
            return status_to_errno(status);
        }
    }
    if (fail) {
        log_line("fault: GET_GPAP_ACCESS_BITMAP fails half way");
        return -EIO;
    }
    if (copy_to_program(request.bitmap_pointer, bitmap.data(), bitmap.size()) < 0) {
        return -EFAULT;
    }
    // Old kernels say how many pages they did, also when that is all.
    if (options().kernel == Kernel::kOld &&
        copy_to_program(argument, &request, sizeof(request)) < 0) {
        return -EFAULT;
    }
    return 0;
}

}  // namespace halcyon::emulator
