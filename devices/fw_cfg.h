/// FwCfg: how firmware learns what machine it runs on (QEMU's fw_cfg device,
/// docs/specs/fw_cfg.rst).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/guest_memory.h"
#include "base/result.h"
#include "devices/device.h"
#include "devices/fw_cfg_registers.h"

namespace halcyon {

/// A set of items, each known by a 16-bit key; files are items with a name, listed in a directory
/// that is sorted by name. The guest selects an item and reads it byte by byte, or has it copied
/// into its memory by DMA. Some files can be written by DMA.
///
/// One block of 12 ports. Items are added on the main thread before the guest runs; the ports may
/// be used from any thread after that. `memory` outlives the device.
class FwCfg final : public IoHandler, public Resettable {
public:
    /// Called after the guest wrote to a file, with the device's lock held: where, and the file's
    /// whole new content.
    using Written =
        std::function<void(size_t offset, size_t length, std::span<const std::byte> content)>;

    /// With the signature, the id and an empty directory.
    explicit FwCfg(const GuestMemory& memory);

    /// Sets the item `key` (one of fw_cfg::kKey...), replacing an earlier one. Fails for the items
    /// that the device makes itself and for the keys of files.
    Result<void> add_bytes(uint16_t key, std::vector<std::byte> content);
    /// Little-endian numbers.
    Result<void> add_u16(uint16_t key, uint16_t value);
    Result<void> add_u32(uint16_t key, uint32_t value);
    Result<void> add_u64(uint16_t key, uint64_t value);

    /// Adds a file that the guest can read. Fails when the name is empty, too long or taken, when
    /// all slots are taken, or when the content is larger than the directory can say.
    Result<void> add_file(std::string name, std::vector<std::byte> content);
    /// Adds a file that the guest can also write, within its size. A reset restores `content`.
    Result<void> add_writable_file(std::string name, std::vector<std::byte> content,
                                   Written written);

    [[nodiscard]] std::string_view name() const override { return "fw_cfg"; }
    void read(uint64_t offset, std::span<std::byte> data) override;
    void write(uint64_t offset, std::span<const std::byte> data) override;
    void reset() override;

private:
    struct Item {
        std::vector<std::byte> content;
        bool writable = false;
        /// For writable items: what a reset restores, and whom a write is reported to.
        std::vector<std::byte> initial;
        Written written;
    };

    Result<void> insert_file(std::string name, Item item);
    void rebuild_directory();

    // All below with the lock held.
    [[nodiscard]] Item* selected_item();
    /// The bytes of the selected item from the current position on; empty past its end.
    [[nodiscard]] std::span<std::byte> rest();
    [[nodiscard]] uint8_t read_data();
    void select(uint16_t key);
    void write_dma_register(uint64_t offset, std::span<const std::byte> data);
    void serve_dma();
    /// The transfer of one request; the error bit, or 0.
    [[nodiscard]] uint32_t transfer(uint32_t control, uint32_t length, uint64_t address);
    [[nodiscard]] bool copy_to_guest(uint64_t address, uint32_t length);
    [[nodiscard]] bool copy_from_guest(uint64_t address, uint32_t length);

    // Runtime glue.
    const GuestMemory& memory_;

    // Bookkeeping. The mutex guards everything below.
    std::mutex mutex_;
    /// Items by key, but for files.
    std::map<uint16_t, Item> items_;
    /// Files in the order of their names, which is the order of their keys.
    std::map<std::string, Item> files_;
    /// The items by key, files included.
    std::map<uint16_t, Item*> index_;

    /// Guest-visible, besides the writable items' content.
    struct State {
        uint16_t key = fw_cfg::kKeySignature;
        uint32_t position = 0;
        /// What the DMA register holds before its low half is written.
        uint64_t dma_address = 0;
    };
    State state_;
};

}  // namespace halcyon
