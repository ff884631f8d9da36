#include "accel/soft/model_registers.h"

#include <algorithm>

namespace halcyon {

namespace {

constexpr uint32_t kMicrocode = 0x8b;
constexpr uint32_t kRangeCapabilities = 0xfe;
constexpr uint32_t kVariableFirst = 0x200;
constexpr uint32_t kDefaultType = 0x2ff;
constexpr uint32_t kExtendedFeatures = 0xc0000080;
constexpr std::array<uint32_t, 11> kFixed = {0x250, 0x258, 0x259, 0x268, 0x269, 0x26a,
                                             0x26b, 0x26c, 0x26d, 0x26e, 0x26f};
constexpr uint64_t kFixedSupported = 1U << 8;
constexpr uint64_t kWriteCombining = 1U << 10;

}  // namespace

int ModelRegisters::fixed_slot(uint32_t index) {
    const auto* const found = std::find(kFixed.begin(), kFixed.end(), index);
    return found == kFixed.end() ? -1 : static_cast<int>(found - kFixed.begin());
}

bool ModelRegisters::read(uint32_t index, uint64_t* value) const {
    const int fixed = fixed_slot(index);
    if (fixed >= 0) {
        *value = fixed_[static_cast<size_t>(fixed)];
    } else if (index >= kVariableFirst && index < kVariableFirst + variable_.size()) {
        *value = variable_[index - kVariableFirst];
    } else if (index == kDefaultType) {
        *value = default_type_;
    } else if (index == kRangeCapabilities) {
        *value = kVariableCount | kFixedSupported | kWriteCombining;
    } else if (index == kExtendedFeatures || index == kMicrocode) {
        *value = 0;
    } else {
        return false;
    }
    return true;
}

bool ModelRegisters::write(uint32_t index, uint64_t value) {
    const int fixed = fixed_slot(index);
    if (fixed >= 0) {
        fixed_[static_cast<size_t>(fixed)] = value;
    } else if (index >= kVariableFirst && index < kVariableFirst + variable_.size()) {
        variable_[index - kVariableFirst] = value;
    } else if (index == kDefaultType) {
        default_type_ = value;
    } else {
        return (index == kExtendedFeatures && value == 0) || index == kMicrocode;
    }
    return true;
}

}  // namespace halcyon
