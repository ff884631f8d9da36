#include "base/guest_memory.h"

#include <algorithm>
#include <utility>

namespace halcyon {

namespace {

std::string describe(GpaRange range) {
    char text[64];
    std::snprintf(text, sizeof(text), "0x%llx, %llu bytes",
                  static_cast<unsigned long long>(range.start.value()),
                  static_cast<unsigned long long>(range.size));
    return text;
}

/// Calls `copy(host, done, length)` for each piece of `[address, address + size)`.
template <typename Copy>
Result<void> for_each_piece(const std::vector<GuestMemory::Region>& regions, Gpa address,
                            size_t size, Copy copy) {
    size_t done = 0;
    while (done < size) {
        const auto position = address.checked_add(done);
        const auto region =
            position ? std::find_if(regions.begin(), regions.end(),
                                    [&](const auto& r) { return r.range.contains(*position); })
                     : regions.end();
        if (region == regions.end()) {
            return Error("guest memory access outside RAM (" + describe({address, size}) + ")",
                         ErrorCode::kInvalidArgument);
        }
        const uint64_t offset = position->value() - region->range.start.value();
        const size_t length = std::min<uint64_t>(size - done, region->range.size - offset);
        copy(region->mapping.data() + offset, done, length);
        done += length;
    }
    return {};
}

}  // namespace

Result<void> GuestMemory::add(GpaRange range, std::string name) {
    for (const Region& region : regions_) {
        if (region.range.overlaps(range)) {
            return Error("guest memory '" + name + "' (" + describe(range) + ") overlaps '" +
                         region.name + "'");
        }
    }
    auto mapping = TRY(Mapping::anonymous(range.size, "guest memory '" + name + "'"));
    regions_.push_back({range, std::move(mapping), std::move(name)});
    return {};
}

Result<void> GuestMemory::read(Gpa address, std::span<std::byte> out) const {
    return for_each_piece(regions_, address, out.size(),
                          [&](const std::byte* host, size_t done, size_t length) {
                              std::memcpy(out.data() + done, host, length);
                          });
}

Result<void> GuestMemory::write(Gpa address, std::span<const std::byte> in) const {
    return for_each_piece(regions_, address, in.size(),
                          [&](std::byte* host, size_t done, size_t length) {
                              std::memcpy(host, in.data() + done, length);
                          });
}

std::byte* GuestMemory::host_address(GpaRange range) const {
    for (const Region& region : regions_) {
        if (region.range.contains(range.start, range.size)) {
            return region.mapping.data() + (range.start.value() - region.range.start.value());
        }
    }
    return nullptr;
}

}  // namespace halcyon
