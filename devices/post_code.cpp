#include "devices/post_code.h"

#include "devices/byte_access.h"

namespace halcyon {

void PostCode::read(uint64_t offset, std::span<std::byte> data) {
    read_bytewise(offset, data, [this](uint64_t) { return last(); });
}

void PostCode::write(uint64_t offset, std::span<const std::byte> data) {
    write_bytewise(offset, data, [this](uint64_t, uint8_t value) {
        state_.code.store(value, std::memory_order_relaxed);
    });
}

void PostCode::reset() {
    state_.code.store(0, std::memory_order_relaxed);
}

}  // namespace halcyon
