/// How a block of 8-bit registers answers wider accesses: byte by byte, lowest offset first, as the
/// ISA bus splits them (ISA System Architecture, "data size conversion").
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace halcyon {

/// Fills `data` with `read(offset)`, `read(offset + 1)` and so on.
template <typename Read>
void read_bytewise(uint64_t offset, std::span<std::byte> data, Read read) {
    for (std::byte& byte : data) {
        byte = static_cast<std::byte>(static_cast<uint8_t>(read(offset++)));
    }
}

/// Calls `write(offset, byte)` for each byte of `data`.
template <typename Write>
void write_bytewise(uint64_t offset, std::span<const std::byte> data, Write write) {
    for (const std::byte byte : data) {
        write(offset++, std::to_integer<uint8_t>(byte));
    }
}

}  // namespace halcyon
