/// Mapping: the only owner of an mmap()ed range.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "base/result.h"

namespace halcyon {

/// Unmaps its range when it goes. Movable, not copyable.
class Mapping {
public:
    Mapping() = default;
    ~Mapping();
    Mapping(const Mapping&) = delete;
    Mapping& operator=(const Mapping&) = delete;
    Mapping(Mapping&& other) noexcept;
    Mapping& operator=(Mapping&& other) noexcept;

    /// Maps `size` bytes of `fd` from `offset` (mmap(2) protection and MAP_SHARED). `what` names
    /// the thing in the error.
    static Result<Mapping> map_fd(int fd, size_t size, off_t offset, int protection,
                                  const std::string& what);

    /// Private zero-filled memory, not reserved in swap, page aligned. Fails with the host's errno.
    static Result<Mapping> anonymous(size_t size, const std::string& what);

    [[nodiscard]] std::byte* data() const { return data_; }
    [[nodiscard]] size_t size() const { return size_; }
    [[nodiscard]] std::span<std::byte> bytes() const { return {data_, size_}; }

private:
    Mapping(std::byte* data, size_t size) : data_(data), size_(size) {}

    std::byte* data_ = nullptr;
    size_t size_ = 0;
};

}  // namespace halcyon
