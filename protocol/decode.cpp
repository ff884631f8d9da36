#include "protocol/decode.h"

#include <algorithm>
#include <limits>

namespace halcyon {

namespace {

Error invalid(std::string text) {
    return Error(std::move(text), ErrorCode::kInvalidArgument);
}

bool is_int64(const Json& value) {
    if (value.is_number_unsigned()) {
        return value.get<uint64_t>() <= uint64_t{std::numeric_limits<int64_t>::max()};
    }
    return value.is_number_integer();
}

/// `name` is the type as QEMU spells it in its messages.
template <typename Integer>
Result<void> decode_signed(const Json& value, const MemberPath& path, const char* name,
                           Integer& out) {
    if (!is_int64(value)) {
        return wrong_type(path, "integer");
    }
    const auto number = value.get<int64_t>();
    if (number < std::numeric_limits<Integer>::min() ||
        number > std::numeric_limits<Integer>::max()) {
        return wrong_value(path, name);
    }
    out = static_cast<Integer>(number);
    return {};
}

template <typename Integer>
Result<void> decode_unsigned(const Json& value, const MemberPath& path, const char* name,
                             Integer& out) {
    if (!value.is_number_integer()) {
        return wrong_value(path, "uint64");
    }
    const auto number = value.get<uint64_t>();
    if (number > std::numeric_limits<Integer>::max()) {
        return wrong_value(path, name);
    }
    out = static_cast<Integer>(number);
    return {};
}

bool contains(std::span<const std::string_view> names, std::string_view name) {
    return std::ranges::find(names, name) != names.end();
}

}  // namespace

std::string MemberPath::to_string() const {
    if (parent_ == nullptr) {
        return {};
    }
    std::string text = parent_->to_string();
    if (name_.empty()) {
        return text + "[" + std::to_string(index_) + "]";
    }
    if (!text.empty()) {
        text += ".";
    }
    return text.append(name_);
}

Error wrong_type(const MemberPath& path, std::string_view wanted) {
    return invalid("Invalid parameter type for '" + path.to_string() +
                   "', expected: " + std::string(wanted));
}

Error wrong_value(const MemberPath& path, std::string_view wanted) {
    return invalid("Parameter '" + path.to_string() + "' expects " + std::string(wanted));
}

Error missing(const MemberPath& path) {
    return invalid("Parameter '" + path.to_string() + "' is missing");
}

Error not_accepted(const MemberPath& path, std::string_view value) {
    return invalid("Parameter '" + path.to_string() + "' does not accept value '" +
                   std::string(value) + "'");
}

Result<void> decode(const Json& value, const MemberPath& path, bool& out) {
    if (!value.is_boolean()) {
        return wrong_type(path, "boolean");
    }
    out = value.get<bool>();
    return {};
}

Result<void> decode(const Json& value, const MemberPath& path, std::string& out) {
    if (!value.is_string()) {
        return wrong_type(path, "string");
    }
    out = value.get_ref<const std::string&>();
    return {};
}

Result<void> decode(const Json& value, const MemberPath& path, double& out) {
    if (!value.is_number()) {
        return wrong_type(path, "number");
    }
    out = value.get<double>();
    return {};
}

Result<void> decode(const Json& value, const MemberPath& path, int8_t& out) {
    return decode_signed(value, path, "int8_t", out);
}

Result<void> decode(const Json& value, const MemberPath& path, int16_t& out) {
    return decode_signed(value, path, "int16_t", out);
}

Result<void> decode(const Json& value, const MemberPath& path, int32_t& out) {
    return decode_signed(value, path, "int32_t", out);
}

Result<void> decode(const Json& value, const MemberPath& path, int64_t& out) {
    return decode_signed(value, path, "int64_t", out);
}

Result<void> decode(const Json& value, const MemberPath& path, uint8_t& out) {
    return decode_unsigned(value, path, "uint8_t", out);
}

Result<void> decode(const Json& value, const MemberPath& path, uint16_t& out) {
    return decode_unsigned(value, path, "uint16_t", out);
}

Result<void> decode(const Json& value, const MemberPath& path, uint32_t& out) {
    return decode_unsigned(value, path, "uint32_t", out);
}

Result<void> decode(const Json& value, const MemberPath& path, uint64_t& out) {
    return decode_unsigned(value, path, "uint64", out);
}

Result<void> decode(const Json& value, const MemberPath& path, std::nullptr_t& out) {
    if (!value.is_null()) {
        return wrong_type(path, "null");
    }
    out = nullptr;
    return {};
}

Result<void> decode(const Json& value, const MemberPath& /*path*/, Json& out) {
    out = value;
    return {};
}

Result<size_t> decode_enum_index(const Json& value, const MemberPath& path,
                                 std::span<const std::string_view> names) {
    if (!value.is_string()) {
        return wrong_type(path, "string");
    }
    const auto& text = value.get_ref<const std::string&>();
    const auto found = std::ranges::find(names, text);
    if (found == names.end()) {
        return not_accepted(path, text);
    }
    return static_cast<size_t>(found - names.begin());
}

Result<void> require_object(const Json& value, const MemberPath& path) {
    if (!value.is_object()) {
        return wrong_type(path, "object");
    }
    return {};
}

Result<void> refuse_unknown_members(const Json& object, const MemberPath& path,
                                    std::span<const std::string_view> known,
                                    std::span<const std::string_view> known_too) {
    for (auto member = object.begin(); member != object.end(); ++member) {
        if (!contains(known, member.key()) && !contains(known_too, member.key())) {
            return invalid("Parameter '" + path.member(member.key()).to_string() +
                           "' is unexpected");
        }
    }
    return {};
}

}  // namespace halcyon
