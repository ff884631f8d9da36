#include "devices/fw_cfg.h"

#include <endian.h>

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

namespace halcyon {

using namespace fw_cfg;

namespace {

/// How far past the end of an item one DMA read may go. The padding is zeros and never needed; the
/// limit keeps a guest from holding its vCPU thread in one port access for seconds.
constexpr uint32_t kMaximumPadding = 16 << 20;

/// Selects nothing: outside of every key the device accepts.
constexpr uint16_t kKeyNothing = 0xFFFF;

template <typename T>
std::vector<std::byte> bytes_of(const T& value) {
    const auto bytes = std::as_bytes(std::span(&value, 1));
    return {bytes.begin(), bytes.end()};
}

std::vector<std::byte> bytes_of_text(std::string_view text) {
    const auto bytes = std::as_bytes(std::span(text.data(), text.size()));
    return {bytes.begin(), bytes.end()};
}

}  // namespace

FwCfg::FwCfg(const GuestMemory& memory) : memory_(memory) {
    items_[kKeySignature].content = bytes_of_text("QEMU");
    items_[kKeyId].content = bytes_of(htole32(kIdTraditional | kIdDma));
    rebuild_directory();
}

Result<void> FwCfg::add_bytes(uint16_t key, std::vector<std::byte> content) {
    const uint16_t index = key & kKeyIndexMask;
    const bool own = key == kKeySignature || key == kKeyId || key == kKeyFileDirectory;
    if (own || index >= kKeyFirstFile || (key & kKeyWriteChannel) != 0) {
        return Error("fw_cfg key " + std::to_string(key) + " cannot be set",
                     ErrorCode::kInvalidArgument);
    }
    if (content.size() > std::numeric_limits<uint32_t>::max()) {
        return Error("fw_cfg item " + std::to_string(key) + " is too large",
                     ErrorCode::kInvalidArgument);
    }
    const std::lock_guard lock(mutex_);
    items_[key].content = std::move(content);
    index_[key] = &items_[key];
    return {};
}

Result<void> FwCfg::add_u16(uint16_t key, uint16_t value) {
    return add_bytes(key, bytes_of(htole16(value)));
}

Result<void> FwCfg::add_u32(uint16_t key, uint32_t value) {
    return add_bytes(key, bytes_of(htole32(value)));
}

Result<void> FwCfg::add_u64(uint16_t key, uint64_t value) {
    return add_bytes(key, bytes_of(htole64(value)));
}

Result<void> FwCfg::add_file(std::string name, std::vector<std::byte> content) {
    Item item;
    item.content = std::move(content);
    return insert_file(std::move(name), std::move(item));
}

Result<void> FwCfg::add_writable_file(std::string name, std::vector<std::byte> content,
                                      Written written) {
    Item item;
    item.initial = content;
    item.content = std::move(content);
    item.writable = true;
    item.written = std::move(written);
    return insert_file(std::move(name), std::move(item));
}

Result<void> FwCfg::insert_file(std::string name, Item item) {
    const std::lock_guard lock(mutex_);
    if (name.empty() || name.size() >= kFileNameSize || name.find('\0') != std::string::npos) {
        return Error("fw_cfg file name '" + name + "' must have 1 to " +
                         std::to_string(kFileNameSize - 1) + " characters",
                     ErrorCode::kInvalidArgument);
    }
    if (item.content.size() > std::numeric_limits<uint32_t>::max()) {
        return Error("fw_cfg file '" + name + "' is too large", ErrorCode::kInvalidArgument);
    }
    if (files_.size() == kFileSlots) {
        return Error(
            "fw_cfg file '" + name + "': all " + std::to_string(kFileSlots) + " slots are taken",
            ErrorCode::kInvalidArgument);
    }
    if (files_.contains(name)) {
        return Error("fw_cfg file '" + name + "' exists already", ErrorCode::kInvalidArgument);
    }
    files_.emplace(std::move(name), std::move(item));
    rebuild_directory();
    return {};
}

/// Gives the files their keys, in the order of their names as QEMU does, and lists them.
void FwCfg::rebuild_directory() {
    index_.clear();
    std::vector<std::byte> directory = bytes_of(htobe32(static_cast<uint32_t>(files_.size())));
    uint16_t key = kKeyFirstFile;
    for (auto& [name, item] : files_) {
        DirectoryEntry entry{};
        entry.size = htobe32(static_cast<uint32_t>(item.content.size()));
        entry.key = htobe16(key);
        std::copy(name.begin(), name.end(), entry.name);
        const auto bytes = bytes_of(entry);
        directory.insert(directory.end(), bytes.begin(), bytes.end());
        index_[key] = &item;
        ++key;
    }
    items_[kKeyFileDirectory].content = std::move(directory);
    for (auto& [item_key, item] : items_) {
        index_[item_key] = &item;
    }
}

void FwCfg::read(uint64_t offset, std::span<std::byte> data) {
    const std::lock_guard lock(mutex_);
    // A byte from either half of the selector is the next byte of the item (QEMU,
    // hw/nvram/fw_cfg.c: the combined port block); a wider access from the selector is not decoded.
    if (data.size() == 1 && offset < 2) {
        data[0] = static_cast<std::byte>(read_data());
        return;
    }
    const bool through_selector = offset == kSelector;
    for (std::byte& byte : data) {
        if (offset >= kDma) {
            byte = static_cast<std::byte>(kDmaSignature[offset - kDma]);
        } else if (offset < 2) {
            byte = static_cast<std::byte>(through_selector ? 0 : read_data());
        } else {
            byte = std::byte{0xFF};  // the two ports that nobody decodes
        }
        ++offset;
    }
}

void FwCfg::write(uint64_t offset, std::span<const std::byte> data) {
    const std::lock_guard lock(mutex_);
    if (offset == kSelector && data.size() == 2) {
        select(static_cast<uint16_t>(load_le(data)));
    } else if (offset >= kDma) {
        write_dma_register(offset - kDma, data);
    }
    // The data port took writes before QEMU 2.4; they are ignored.
}

void FwCfg::reset() {
    const std::lock_guard lock(mutex_);
    state_ = State{};
    for (auto& [name, item] : files_) {
        if (item.writable) {
            item.content = item.initial;
        }
    }
}

FwCfg::Item* FwCfg::selected_item() {
    const auto found = index_.find(state_.key);
    return found == index_.end() ? nullptr : found->second;
}

std::span<std::byte> FwCfg::rest() {
    Item* item = selected_item();
    if (item == nullptr || state_.position >= item->content.size()) {
        return {};
    }
    return std::span(item->content).subspan(state_.position);
}

uint8_t FwCfg::read_data() {
    const auto bytes = rest();
    if (bytes.empty()) {
        return 0;
    }
    ++state_.position;
    return std::to_integer<uint8_t>(bytes.front());
}

void FwCfg::select(uint16_t key) {
    const bool exists = (key & kKeyIndexMask) < kKeyFirstFile + kFileSlots;
    state_.key = exists ? static_cast<uint16_t>(key & ~kKeyWriteChannel) : kKeyNothing;
    state_.position = 0;
}

/// The register takes one 64-bit write, or its halves, high first; the low half starts the
/// transfer. Other accesses are not decoded.
void FwCfg::write_dma_register(uint64_t offset, std::span<const std::byte> data) {
    const uint64_t value = load_le(data);
    if (data.size() == 8 && offset == 0) {
        state_.dma_address = be64toh(value);
        serve_dma();
    } else if (data.size() == 4 && offset == 0) {
        state_.dma_address = static_cast<uint64_t>(be32toh(static_cast<uint32_t>(value))) << 32;
    } else if (data.size() == 4 && offset == 4) {
        state_.dma_address |= be32toh(static_cast<uint32_t>(value));
        serve_dma();
    }
}

void FwCfg::serve_dma() {
    // Cleared first: the next request starts from a high half of 0.
    const Gpa address(std::exchange(state_.dma_address, 0));
    const auto request = memory_.read_object<DmaRequest>(address);
    uint32_t result = kDmaError;
    if (request) {
        result = transfer(be32toh(request->control), be32toh(request->length),
                          be64toh(request->address));
    }
    // Where even the control word is outside of RAM there is nobody to tell.
    static_cast<void>(memory_.write_object(address, htobe32(result)));
}

uint32_t FwCfg::transfer(uint32_t control, uint32_t length, uint64_t address) {
    if ((control & kDmaSelect) != 0) {
        select(static_cast<uint16_t>(control >> 16));
    }
    bool done = true;
    if ((control & kDmaRead) != 0) {
        done = copy_to_guest(address, length);
    } else if ((control & kDmaWrite) != 0) {
        done = copy_from_guest(address, length);
    } else if ((control & kDmaSkip) != 0) {
        state_.position += static_cast<uint32_t>(std::min<size_t>(length, rest().size()));
    }
    return done ? 0 : kDmaError;
}

/// The item from the current position on, and zeros past its end.
bool FwCfg::copy_to_guest(uint64_t address, uint32_t length) {
    const auto bytes = rest().first(std::min<size_t>(length, rest().size()));
    if (length - bytes.size() > kMaximumPadding || !memory_.write(Gpa(address), bytes)) {
        return false;
    }
    state_.position += static_cast<uint32_t>(bytes.size());

    static constexpr std::array<std::byte, 4096> kZeros{};
    size_t done = bytes.size();
    while (done < length) {
        const auto next = Gpa(address).checked_add(done);
        const auto piece = std::span(kZeros).first(std::min(length - done, kZeros.size()));
        if (!next || !memory_.write(*next, piece)) {
            return false;
        }
        done += piece.size();
    }
    return true;
}

/// A write is all or nothing, and never past the item's end.
bool FwCfg::copy_from_guest(uint64_t address, uint32_t length) {
    Item* item = selected_item();
    if (length == 0) {
        return true;
    }
    if (item == nullptr || !item->writable || length > rest().size()) {
        return false;
    }
    std::vector<std::byte> incoming(length);
    if (!memory_.read(Gpa(address), incoming)) {
        return false;
    }
    const size_t position = state_.position;
    std::copy(incoming.begin(), incoming.end(), rest().begin());
    state_.position += length;
    if (item->written) {
        item->written(position, length, item->content);
    }
    return true;
}

}  // namespace halcyon
