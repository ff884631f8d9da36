#include "devices/debugcon.h"

#include <algorithm>

#include "devices/debugcon_registers.h"

namespace halcyon {

Debugcon::Debugcon(CharBackend& backend) : backend_(backend) {
    backend_.connect(this);
}

Debugcon::~Debugcon() {
    backend_.connect(nullptr);
}

void Debugcon::read(uint64_t /*offset*/, std::span<std::byte> data) {
    std::fill(data.begin(), data.end(), std::byte{debugcon::kReadback});
}

void Debugcon::write(uint64_t /*offset*/, std::span<const std::byte> data) {
    const size_t taken = backend_.write(data);
    if (taken < data.size()) {
        dropped_.fetch_add(data.size() - taken, std::memory_order_relaxed);
    }
}

}  // namespace halcyon
