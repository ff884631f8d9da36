#include "ctl/qmp_schema.h"

#include <algorithm>
#include <utility>

#include "ctl/exit_status.h"
#include "ctl/json_access.h"

namespace halcyon {
namespace {

std::optional<TypeKind> parse_kind(std::string_view meta_type) {
    static constexpr std::pair<std::string_view, TypeKind> kKinds[] = {
        {"builtin", TypeKind::kBuiltin},     {"enum", TypeKind::kEnum},
        {"array", TypeKind::kArray},         {"object", TypeKind::kObject},
        {"alternate", TypeKind::kAlternate},
    };
    for (const auto& [name, kind] : kKinds) {
        if (name == meta_type) {
            return kind;
        }
    }
    return std::nullopt;
}

/// Calls `take` with each object of the list `name` of `entry`.
template <typename Take>
void for_each_object(const Json& entry, std::string_view name, Take take) {
    const Json* list = find_member(entry, name);
    if (list == nullptr || !list->is_array()) {
        return;
    }
    for (const Json& element : *list) {
        if (element.is_object()) {
            take(element);
        }
    }
}

/// Since QEMU 6.2 an enum has `members`, objects; `values` are the same for older clients.
std::vector<std::string> parse_values(const Json& entry) {
    std::vector<std::string> values;
    for_each_object(entry, "members", [&values](const Json& member) {
        values.emplace_back(find_string(member, "name"));
    });
    const Json* plain = find_member(entry, "values");
    if (values.empty() && plain != nullptr && plain->is_array()) {
        for (const Json& value : *plain) {
            if (value.is_string()) {
                values.push_back(value.get<std::string>());
            }
        }
    }
    return values;
}

SchemaType parse_type(const Json& entry, TypeKind kind) {
    SchemaType type;
    type.kind = kind;
    type.json_type = find_string(entry, "json-type");
    type.element = find_string(entry, "element-type");
    type.tag = find_string(entry, "tag");
    if (kind == TypeKind::kEnum) {
        type.values = parse_values(entry);
        return type;
    }
    for_each_object(entry, "members", [&type](const Json& member) {
        type.members.push_back({std::string(find_string(member, "name")),
                                std::string(find_string(member, "type")),
                                find_member(member, "default") != nullptr});
    });
    for_each_object(entry, "variants", [&type](const Json& variant) {
        type.variants.push_back(
            {std::string(find_string(variant, "case")), std::string(find_string(variant, "type"))});
    });
    return type;
}

std::string describe_builtin(std::string_view json_type) {
    static constexpr std::pair<std::string_view, std::string_view> kWords[] = {
        {"string", "a string"},       {"int", "an integer"}, {"number", "a number"},
        {"boolean", "true or false"}, {"null", "null"},
    };
    for (const auto& [name, words] : kWords) {
        if (name == json_type) {
            return std::string(words);
        }
    }
    return "any JSON value";
}

}  // namespace

std::string join_names(const std::vector<std::string>& names) {
    constexpr size_t kEnough = 200;
    std::string text;
    for (const std::string& name : names) {
        if (!text.empty()) {
            text += ", ";
        }
        if (text.size() + name.size() > kEnough) {
            return text + "...";
        }
        text += name;
    }
    return text;
}

Result<QmpSchema> QmpSchema::parse(const Json& entries) {
    if (!entries.is_array()) {
        return connection_error("the server's answer to query-qmp-schema is no list");
    }
    QmpSchema schema;
    for (const Json& entry : entries) {
        const std::string name(find_string(entry, "name"));
        const std::string_view meta_type = find_string(entry, "meta-type");
        if (name.empty()) {
            continue;
        }
        if (meta_type == "command") {
            schema.argument_types_.emplace(name, find_string(entry, "arg-type"));
            schema.commands_.push_back(name);
        } else if (meta_type == "event") {
            schema.events_.push_back(name);
        } else if (const std::optional<TypeKind> kind = parse_kind(meta_type)) {
            schema.types_.emplace(name, parse_type(entry, *kind));
        }
    }
    std::sort(schema.commands_.begin(), schema.commands_.end());
    std::sort(schema.events_.begin(), schema.events_.end());
    return schema;
}

bool QmpSchema::has_command(std::string_view name) const {
    return argument_types_.find(name) != argument_types_.end();
}

bool QmpSchema::has_event(std::string_view name) const {
    return std::find(events_.begin(), events_.end(), name) != events_.end();
}

const SchemaType* QmpSchema::find_type(std::string_view name) const {
    const auto found = types_.find(name);
    return found == types_.end() ? nullptr : &found->second;
}

const SchemaType* QmpSchema::arguments_of(std::string_view command) const {
    const auto found = argument_types_.find(command);
    return found == argument_types_.end() ? nullptr : find_type(found->second);
}

std::vector<SchemaMember> QmpSchema::members_of(const SchemaType& type,
                                                std::optional<std::string_view> tag_value) const {
    std::vector<SchemaMember> members = type.members;
    for (const SchemaVariant& variant : type.variants) {
        const SchemaType* chosen = find_type(variant.type);
        if (tag_value && *tag_value == variant.tag_value && chosen != nullptr) {
            members.insert(members.end(), chosen->members.begin(), chosen->members.end());
        }
    }
    return members;
}

std::string QmpSchema::describe(std::string_view type_name) const {
    const SchemaType* type = find_type(type_name);
    if (type == nullptr) {
        return "any JSON value";
    }
    switch (type->kind) {
        case TypeKind::kBuiltin:
            return describe_builtin(type->json_type);
        case TypeKind::kEnum:
            return "one of " + join_names(type->values);
        case TypeKind::kArray: {
            const SchemaType* element = find_type(type->element);
            const bool plain = element != nullptr && (element->kind == TypeKind::kBuiltin ||
                                                      element->kind == TypeKind::kEnum);
            return plain ? "a list (A,B or JSON), each " + describe(type->element)
                         : "a list in JSON";
        }
        case TypeKind::kObject:
            return "an object (by its members, or in JSON)";
        case TypeKind::kAlternate: {
            std::string text;
            for (const SchemaMember& member : type->members) {
                const SchemaType* choice = find_type(member.type);
                // A server's schema could have alternates of alternates without end.
                if (choice != nullptr && choice->kind != TypeKind::kAlternate) {
                    text += (text.empty() ? "" : ", or ") + describe(member.type);
                }
            }
            return text;
        }
    }
    return "any JSON value";
}

}  // namespace halcyon
