/// ModelRegisters: the model specific registers that are only stored.
#pragma once

#include <array>
#include <cstdint>

namespace halcyon {

/// The memory type range registers (Intel SDM 3A 12.11), which firmware sets up and reads back, and
/// EFER, which has no feature to enable here. Not thread safe.
class ModelRegisters {
public:
    void reset() { *this = {}; }
    /// False for a register that is not here, or takes no such value.
    [[nodiscard]] bool read(uint32_t index, uint64_t* value) const;
    bool write(uint32_t index, uint64_t value);

private:
    static constexpr uint32_t kVariableCount = 8;
    [[nodiscard]] static int fixed_slot(uint32_t index);

    std::array<uint64_t, 2 * kVariableCount> variable_{};
    std::array<uint64_t, 11> fixed_{};
    uint64_t default_type_ = 0;
};

}  // namespace halcyon
