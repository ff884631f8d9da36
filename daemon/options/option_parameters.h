/// What the options' keys are, for clients that look before they write a command line.
#pragma once

#include <span>
#include <string_view>

namespace halcyon {

struct OptionParameter {
    /// How a value is written: text, on/off, a number, a number with a suffix K, M, ...
    enum class Kind { kString, kBoolean, kNumber, kSize };

    std::string_view name;
    Kind kind = Kind::kString;
    /// What is taken without it, as it would be written; empty when there is nothing to say.
    std::string_view default_value = {};
};

/// The keys of one option.
struct OptionGroup {
    /// QEMU's name for it, which is what clients ask for.
    std::string_view name;
    /// The option, without dash.
    std::string_view option;
    std::span<const OptionParameter> parameters;
};

/// Every option that takes keys, by name.
[[nodiscard]] std::span<const OptionGroup> option_groups();

}  // namespace halcyon
