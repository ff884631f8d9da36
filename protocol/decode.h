/// What the generated decoding of arguments is made of: one overload of `decode` for each built-in
/// type of the schema, and helpers for members. Every fault names the member by its path from
/// `arguments` ("backend.data.out", "capabilities[0].state"), in QEMU's words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/result.h"
#include "protocol/json.h"

namespace halcyon {

/// Where in the arguments a value stands. A link to its parent, so that making one costs nothing
/// until a fault needs the text. Must not outlive the parent or the name.
class MemberPath {
public:
    /// The arguments themselves.
    MemberPath() = default;

    [[nodiscard]] MemberPath member(std::string_view name) const {
        return MemberPath(this, name, 0);
    }
    [[nodiscard]] MemberPath element(size_t index) const { return MemberPath(this, {}, index); }

    /// "a.b[0]"; empty for the arguments themselves.
    [[nodiscard]] std::string to_string() const;

private:
    MemberPath(const MemberPath* parent, std::string_view name, size_t index)
        : parent_(parent), name_(name), index_(index) {}

    const MemberPath* parent_ = nullptr;
    std::string_view name_;  ///< empty for an element of a list
    size_t index_ = 0;
};

/// "Invalid parameter type for 'PATH', expected: WANTED".
[[nodiscard]] Error wrong_type(const MemberPath& path, std::string_view wanted);
/// "Parameter 'PATH' expects WANTED".
[[nodiscard]] Error wrong_value(const MemberPath& path, std::string_view wanted);
/// "Parameter 'PATH' is missing".
[[nodiscard]] Error missing(const MemberPath& path);
/// "Parameter 'PATH' does not accept value 'VALUE'".
[[nodiscard]] Error not_accepted(const MemberPath& path, std::string_view value);

// The built-in types. A float is no integer even if it is integral; an unsigned type takes a
// negative integer as two's complement, as QEMU does for old clients; narrower ones check range.
[[nodiscard]] Result<void> decode(const Json& value, const MemberPath& path, bool& out);
[[nodiscard]] Result<void> decode(const Json& value, const MemberPath& path, std::string& out);
[[nodiscard]] Result<void> decode(const Json& value, const MemberPath& path, double& out);
[[nodiscard]] Result<void> decode(const Json& value, const MemberPath& path, int8_t& out);
[[nodiscard]] Result<void> decode(const Json& value, const MemberPath& path, int16_t& out);
[[nodiscard]] Result<void> decode(const Json& value, const MemberPath& path, int32_t& out);
[[nodiscard]] Result<void> decode(const Json& value, const MemberPath& path, int64_t& out);
[[nodiscard]] Result<void> decode(const Json& value, const MemberPath& path, uint8_t& out);
[[nodiscard]] Result<void> decode(const Json& value, const MemberPath& path, uint16_t& out);
[[nodiscard]] Result<void> decode(const Json& value, const MemberPath& path, uint32_t& out);
[[nodiscard]] Result<void> decode(const Json& value, const MemberPath& path, uint64_t& out);
[[nodiscard]] Result<void> decode(const Json& value, const MemberPath& path, std::nullptr_t& out);
/// Any value at all.
[[nodiscard]] Result<void> decode(const Json& value, const MemberPath& path, Json& out);

/// A list.
template <typename T>
[[nodiscard]] Result<void> decode(const Json& value, const MemberPath& path, std::vector<T>& out) {
    if (!value.is_array()) {
        return wrong_type(path, "array");
    }
    out.resize(value.size());
    for (size_t i = 0; i < value.size(); ++i) {
        if constexpr (std::is_same_v<T, bool>) {
            bool element = false;
            TRY(decode(value[i], path.element(i), element));
            out[i] = element;
        } else {
            TRY(decode(value[i], path.element(i), out[i]));
        }
    }
    return {};
}

/// The number in `names` of the string `value`.
[[nodiscard]] Result<size_t> decode_enum_index(const Json& value, const MemberPath& path,
                                               std::span<const std::string_view> names);

/// An enumeration whose enumerators count from 0 in the order of `names`.
template <typename Enum>
[[nodiscard]] Result<void> decode_enum(const Json& value, const MemberPath& path,
                                       std::span<const std::string_view> names, Enum& out) {
    out = static_cast<Enum>(TRY(decode_enum_index(value, path, names)));
    return {};
}

/// The member `name` of `object`, which must be there.
template <typename T>
[[nodiscard]] Result<void> decode_member(const Json& object, const MemberPath& path,
                                         std::string_view name, T& out) {
    const MemberPath member_path = path.member(name);
    const auto member = object.find(name);
    if (member == object.end()) {
        return missing(member_path);
    }
    return decode(*member, member_path, out);
}

/// The member `name` of `object`, which may be absent. Null is not absent.
template <typename T>
[[nodiscard]] Result<void> decode_member(const Json& object, const MemberPath& path,
                                         std::string_view name, std::optional<T>& out) {
    const auto member = object.find(name);
    if (member == object.end()) {
        out.reset();
        return {};
    }
    return decode(*member, path.member(name), out.emplace());
}

/// Fails unless `value` is an object.
[[nodiscard]] Result<void> require_object(const Json& value, const MemberPath& path);

/// Fails if `object` has a member that none of the lists names.
[[nodiscard]] Result<void> refuse_unknown_members(const Json& object, const MemberPath& path,
                                                  std::span<const std::string_view> known,
                                                  std::span<const std::string_view> known_too = {});

}  // namespace halcyon
