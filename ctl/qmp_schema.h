/// QmpSchema: a server's answer to query-qmp-schema, for looking things up.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "protocol/json.h"

namespace halcyon {

/// What a type of the schema is ("meta-type").
enum class TypeKind { kBuiltin, kEnum, kArray, kObject, kAlternate };

struct SchemaMember {
    std::string name;  ///< empty for an alternate's
    std::string type;
    bool optional = false;
};

/// The members that an object has when its tag has a value.
struct SchemaVariant {
    std::string tag_value;
    std::string type;
};

struct SchemaType {
    TypeKind kind = TypeKind::kBuiltin;
    std::string json_type;              ///< of a builtin: "string", "int", "boolean", "value", ...
    std::vector<std::string> values;    ///< of an enum
    std::string element;                ///< of an array
    std::vector<SchemaMember> members;  ///< of an object or alternate
    std::string tag;                    ///< of an object with variants
    std::vector<SchemaVariant> variants;
};

/// Commands, events and types by name. Made of what a server sent, so a type that is named may not
/// exist. Immutable; single-threaded.
class QmpSchema {
public:
    /// Entries of unknown kinds are left out. Fails if it is no list of entries at all.
    [[nodiscard]] static Result<QmpSchema> parse(const Json& entries);

    [[nodiscard]] const std::vector<std::string>& commands() const { return commands_; }
    [[nodiscard]] const std::vector<std::string>& events() const { return events_; }
    [[nodiscard]] bool has_command(std::string_view name) const;
    [[nodiscard]] bool has_event(std::string_view name) const;

    /// Null for an unknown name.
    [[nodiscard]] const SchemaType* find_type(std::string_view name) const;
    /// The type of a command's arguments; null when the command is unknown.
    [[nodiscard]] const SchemaType* arguments_of(std::string_view command) const;

    /// The members that `type` has for an object whose tag has this value (if known): its own and
    /// its variants'. Of variants that have variants too, only the first step is taken.
    [[nodiscard]] std::vector<SchemaMember> members_of(
        const SchemaType& type, std::optional<std::string_view> tag_value) const;

    /// What a value of the type looks like, for people: "an integer", "one of a, b".
    [[nodiscard]] std::string describe(std::string_view type_name) const;

private:
    std::map<std::string, SchemaType, std::less<>> types_;
    std::map<std::string, std::string, std::less<>> argument_types_;
    std::vector<std::string> commands_;
    std::vector<std::string> events_;
};

/// "a, b, c"; what does not fit into about 200 characters is "...".
[[nodiscard]] std::string join_names(const std::vector<std::string>& names);

}  // namespace halcyon
