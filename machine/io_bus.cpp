#include "machine/io_bus.h"

#include <algorithm>
#include <cstdio>
#include <mutex>

namespace halcyon {

namespace {

constexpr std::byte kFloatingBus{0xff};

}  // namespace

Result<void> IoBus::add(uint64_t start, uint64_t size, IoHandler& handler) {
    const std::unique_lock lock(mutex_);
    const auto next = std::find_if(blocks_.begin(), blocks_.end(), [&](const Block& block) {
        return block.start + block.size > start;
    });
    if (next != blocks_.end() && next->start < start + size) {
        char text[128];
        std::snprintf(text, sizeof(text), "%s 0x%llx-0x%llx is taken", name_.c_str(),
                      static_cast<unsigned long long>(start),
                      static_cast<unsigned long long>(start + size - 1));
        return Error(std::string(handler.name()) + ": " + text + " by " +
                     std::string(next->handler->name()));
    }
    blocks_.insert(next, {start, size, &handler});
    return {};
}

void IoBus::remove(uint64_t start) {
    const std::unique_lock lock(mutex_);
    std::erase_if(blocks_, [&](const Block& block) { return block.start == start; });
}

const IoBus::Block* IoBus::find(uint64_t address, size_t length) const {
    const auto next =
        std::upper_bound(blocks_.begin(), blocks_.end(), address,
                         [](uint64_t value, const Block& block) { return value < block.start; });
    if (next == blocks_.begin()) {
        return nullptr;
    }
    const Block& block = *std::prev(next);
    const uint64_t offset = address - block.start;
    return offset < block.size && length <= block.size - offset ? &block : nullptr;
}

bool IoBus::any_claimed(uint64_t address, size_t length) const {
    for (size_t i = 0; i < length; ++i) {
        if (find(address + i, 1) != nullptr) {
            return true;
        }
    }
    return false;
}

// The table's lock is released before the device is called: a device may add or remove blocks from
// inside an access. Handlers outlive the bus's users, so the pointer stays good.
IoBus::Target IoBus::route(uint64_t address, size_t length) const {
    const std::shared_lock lock(mutex_);
    if (const Block* block = find(address, length)) {
        return {.handler = block->handler, .offset = address - block->start};
    }
    return {.split = length > 1 && any_claimed(address, length)};
}

void IoBus::read(uint64_t address, std::span<std::byte> data) const {
    const Target target = route(address, data.size());
    if (target.handler != nullptr) {
        target.handler->read(target.offset, data);
    } else if (target.split) {
        for (size_t i = 0; i < data.size(); ++i) {
            read(address + i, data.subspan(i, 1));
        }
    } else {
        std::fill(data.begin(), data.end(), kFloatingBus);
    }
}

void IoBus::write(uint64_t address, std::span<const std::byte> data) const {
    const Target target = route(address, data.size());
    if (target.handler != nullptr) {
        target.handler->write(target.offset, data);
    } else if (target.split) {
        for (size_t i = 0; i < data.size(); ++i) {
            write(address + i, data.subspan(i, 1));
        }
    }
}

std::vector<AddressBlock> IoBus::blocks() const {
    const std::shared_lock lock(mutex_);
    std::vector<AddressBlock> blocks;
    for (const Block& block : blocks_) {
        blocks.push_back(
            {block.start, block.size, AddressKind::kIo, std::string(block.handler->name())});
    }
    return blocks;
}

}  // namespace halcyon
