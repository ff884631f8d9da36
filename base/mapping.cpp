#include "base/mapping.h"

#include <sys/mman.h>

#include <utility>

namespace halcyon {

Mapping::~Mapping() {
    if (data_ != nullptr) {
        ::munmap(data_, size_);
    }
}

Mapping::Mapping(Mapping&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
}

Result<Mapping> Mapping::map_fd(int fd, size_t size, off_t offset, int protection,
                                const std::string& what) {
    void* address = ::mmap(nullptr, size, protection, MAP_SHARED, fd, offset);
    if (address == MAP_FAILED) {
        return Error::from_errno("cannot map " + what);
    }
    return Mapping(static_cast<std::byte*>(address), size);
}

Result<Mapping> Mapping::anonymous(size_t size, const std::string& what) {
    void* address = ::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (address == MAP_FAILED) {
        return Error::from_errno("cannot map " + what);
    }
    return Mapping(static_cast<std::byte*>(address), size);
}

}  // namespace halcyon
