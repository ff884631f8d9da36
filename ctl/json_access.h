/// Reading members of JSON that may be of any shape: what a server sends is not to be trusted.
#pragma once

#include <string>
#include <string_view>

#include "protocol/json.h"

namespace halcyon {

/// The member `name` of `object`; null when it has none, or is no object.
[[nodiscard]] inline const Json* find_member(const Json& object, std::string_view name) {
    if (!object.is_object()) {
        return nullptr;
    }
    const auto found = object.find(name);
    return found == object.end() ? nullptr : &*found;
}

/// The string member `name` of `object`; empty when there is none.
[[nodiscard]] inline std::string_view find_string(const Json& object, std::string_view name) {
    const Json* member = find_member(object, name);
    return member != nullptr && member->is_string() ? member->get_ref<const std::string&>()
                                                    : std::string_view();
}

}  // namespace halcyon
