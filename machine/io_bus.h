/// IoBus: which device answers at which port and address.
#pragma once

#include <cstddef>
#include <cstdint>
#include <shared_mutex>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "devices/device.h"
#include "machine/address_map.h"

namespace halcyon {

/// One address space (ports, or memory addresses without memory) and the register blocks in it.
/// Accesses come from vCPU threads, several at once; blocks are added and removed on any thread,
/// also while the guest runs (a guest may move its ACPI block). The lock guards the table only, and
/// is released before a device is called.
class IoBus {
public:
    /// `name` is for errors: "port", "address".
    explicit IoBus(std::string name) : name_(std::move(name)) {}

    /// Claims `[start, start + size)` for `handler`, which outlives the claim. Fails when something
    /// of it is taken.
    Result<void> add(uint64_t start, uint64_t size, IoHandler& handler);
    /// Gives up the claim that begins at `start`; nothing happens when there is none.
    void remove(uint64_t start);

    /// An access wholly inside a block goes to it as it is; one that straddles blocks is split into
    /// bytes. Unclaimed bytes read as FFh and take writes to nowhere.
    void read(uint64_t address, std::span<std::byte> data) const;
    void write(uint64_t address, std::span<const std::byte> data) const;

    /// The claims by address, named after their handlers.
    [[nodiscard]] std::vector<AddressBlock> blocks() const;

private:
    struct Block {
        uint64_t start;
        uint64_t size;
        IoHandler* handler;
    };
    /// Where an access goes: to a handler, byte by byte, or nowhere.
    struct Target {
        IoHandler* handler = nullptr;
        uint64_t offset = 0;
        bool split = false;
    };
    [[nodiscard]] Target route(uint64_t address, size_t length) const;
    // Both with the lock held.
    /// The block that holds all of the access; null when none does.
    [[nodiscard]] const Block* find(uint64_t address, size_t length) const;
    /// Whether any byte of the access is claimed.
    [[nodiscard]] bool any_claimed(uint64_t address, size_t length) const;

    std::string name_;
    mutable std::shared_mutex mutex_;
    std::vector<Block> blocks_;  ///< sorted by start, disjoint
};

}  // namespace halcyon
