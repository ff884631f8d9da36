/// The bus of the instruction executor's tests: one range of pages in an array, with page faults as
/// the processor would give them, and a log of what was done.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "accel/mshv/instruction.h"

namespace halcyon::testing_support {

enum class PageRights { kNone, kRead, kWrite };

class FakeBus : public mshv::InstructionBus, public mshv::MmxRegisters {
public:
    static constexpr uint64_t kPage = 4096;
    static constexpr uint8_t kPageFault = 14;

    /// One access. Ports are logged by number, and bytes only of writes.
    struct Access {
        enum Kind { kFetch, kRead, kWrite, kCheck, kIn, kOut };
        Kind kind = kRead;
        uint64_t address = 0;
        size_t size = 0;
        uint64_t value = 0;
        friend bool operator==(const Access&, const Access&) = default;
    };

    /// `base` and `size` are multiples of a page; all of it is writable.
    FakeBus(uint64_t base, uint64_t size)
        : base_(base), memory_(size), rights_(size / kPage, PageRights::kWrite) {}

    void set_rights(uint64_t address, PageRights rights) {
        rights_[(address - base_) / kPage] = rights;
    }
    [[nodiscard]] std::span<std::byte> memory() { return memory_; }
    [[nodiscard]] std::byte* at(uint64_t address) { return memory_.data() + (address - base_); }
    template <typename T>
    [[nodiscard]] T get(uint64_t address) {
        T value;
        std::memcpy(&value, at(address), sizeof(value));
        return value;
    }
    template <typename T>
    void put(uint64_t address, T value) {
        std::memcpy(at(address), &value, sizeof(value));
    }

    std::optional<mshv::AccessFault> fetch(uint64_t linear, std::span<std::byte> bytes) override {
        return copy_out(Access::kFetch, linear, bytes);
    }
    std::optional<mshv::AccessFault> read(uint64_t linear, std::span<std::byte> data) override {
        return copy_out(Access::kRead, linear, data);
    }
    std::optional<mshv::AccessFault> write(uint64_t linear,
                                           std::span<const std::byte> data) override {
        note({Access::kWrite, linear, data.size(), value_of(data)});
        auto fault = check(linear, data.size(), true);
        if (!fault) {
            std::memcpy(at(linear), data.data(), data.size());
        }
        return fault;
    }
    std::optional<mshv::AccessFault> check_write(uint64_t linear, size_t size) override {
        note({Access::kCheck, linear, size, 0});
        return check(linear, size, true);
    }
    std::optional<mshv::AccessFault> check_read(uint64_t linear, size_t size) override {
        note({Access::kCheck, linear, size, 0});
        return check(linear, size, false);
    }
    void port_read(uint16_t port, std::span<std::byte> data) override {
        note({Access::kIn, port, data.size(), 0});
        for (std::byte& byte : data) {
            byte = static_cast<std::byte>(next_input++);
        }
    }
    void port_write(uint16_t port, std::span<const std::byte> data) override {
        note({Access::kOut, port, data.size(), value_of(data)});
    }
    std::optional<mshv::AccessFault> read_xmm(unsigned index,
                                              std::span<std::byte, 16> data) override {
        std::memcpy(data.data(), xmm.at(index).data(), data.size());
        return std::nullopt;
    }
    std::optional<mshv::AccessFault> write_xmm(unsigned index,
                                               std::span<const std::byte, 16> data) override {
        std::memcpy(xmm.at(index).data(), data.data(), data.size());
        return std::nullopt;
    }
    mshv::MmxRegisters* mmx() override { return has_mmx ? this : nullptr; }
    std::optional<mshv::AccessFault> read_mmx(unsigned index,
                                              std::span<std::byte, 8> data) override {
        std::memcpy(data.data(), mm.at(index).data(), data.size());
        return std::nullopt;
    }
    std::optional<mshv::AccessFault> write_mmx(unsigned index,
                                               std::span<const std::byte, 8> data) override {
        std::memcpy(mm.at(index).data(), data.data(), data.size());
        return std::nullopt;
    }

    std::array<std::array<std::byte, 16>, 16> xmm{};
    std::array<std::array<std::byte, 8>, 8> mm{};
    bool has_mmx = true;
    /// In error codes (Intel SDM 3A 4.7).
    bool user = true;
    /// Whether `log` grows.
    bool logs = true;
    std::vector<Access> log;
    /// What INS reads next, byte by byte.
    uint8_t next_input = 1;
    /// Whether an access went over the end of a page, or was empty.
    bool misused = false;

private:
    static uint64_t value_of(std::span<const std::byte> data) {
        uint64_t value = 0;
        std::memcpy(&value, data.data(), std::min(data.size(), sizeof(value)));
        return value;
    }

    void note(const Access& access) {
        const bool port = access.kind == Access::kIn || access.kind == Access::kOut;
        misused |= access.size == 0 || (!port && access.address % kPage + access.size > kPage);
        if (logs) {
            log.push_back(access);
        }
    }

    std::optional<mshv::AccessFault> check(uint64_t linear, size_t size, bool write) const {
        const uint64_t offset = linear - base_;
        const bool inside = offset < memory_.size() && memory_.size() - offset >= size;
        const PageRights rights = inside ? rights_[offset / kPage] : PageRights::kNone;
        if (rights == PageRights::kWrite || (rights == PageRights::kRead && !write)) {
            return std::nullopt;
        }
        const uint32_t code =
            (rights != PageRights::kNone ? 1U : 0) | (write ? 2U : 0) | (user ? 4U : 0);
        return mshv::AccessFault{mshv::GuestException{kPageFault, code, linear}};
    }

    std::optional<mshv::AccessFault> copy_out(Access::Kind kind, uint64_t linear,
                                              std::span<std::byte> data) {
        note({kind, linear, data.size(), 0});
        auto fault = check(linear, data.size(), false);
        if (!fault) {
            std::memcpy(data.data(), at(linear), data.size());
        }
        return fault;
    }

    uint64_t base_;
    std::vector<std::byte> memory_;
    std::vector<PageRights> rights_;
};

}  // namespace halcyon::testing_support
