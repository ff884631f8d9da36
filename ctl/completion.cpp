#include "ctl/completion.h"

#include <algorithm>
#include <optional>

#include "ctl/arguments.h"
#include "ctl/json_access.h"

namespace halcyon {
namespace {

/// A place in the arguments: what may stand there, and what does already.
struct Place {
    const SchemaType* type = nullptr;
    const Json* value = nullptr;
};

/// The object that the type is, or that it may be.
const SchemaType* as_object(const QmpSchema& schema, const SchemaType* type) {
    if (type != nullptr && type->kind == TypeKind::kAlternate) {
        for (const SchemaMember& choice : type->members) {
            const SchemaType* chosen = schema.find_type(choice.type);
            if (chosen != nullptr && chosen->kind == TypeKind::kObject) {
                return chosen;
            }
        }
    }
    return type != nullptr && type->kind == TypeKind::kObject ? type : nullptr;
}

std::vector<SchemaMember> members_at(const QmpSchema& schema, const Place& place) {
    const SchemaType* type = as_object(schema, place.type);
    if (type == nullptr) {
        return {};
    }
    std::optional<std::string_view> tag;
    if (place.value != nullptr && !type->tag.empty()) {
        const std::string_view given = find_string(*place.value, type->tag);
        tag = given.empty() ? std::nullopt : std::optional(given);
    }
    return schema.members_of(*type, tag);
}

/// The place of `path` below `place`; without a type when there is none.
Place follow(const QmpSchema& schema, Place place, std::string_view path) {
    while (!path.empty() && place.type != nullptr) {
        const std::vector<SchemaMember> members = members_at(schema, place);
        const SchemaMember* member = match_member(members, path);
        if (member == nullptr) {
            return {};
        }
        place.type = schema.find_type(member->type);
        place.value = place.value == nullptr ? nullptr : find_member(*place.value, member->name);
        path.remove_prefix(std::min(member->name.size() + 1, path.size()));
    }
    return place;
}

std::vector<std::string> values_of(const QmpSchema& schema, const SchemaType* type) {
    if (type == nullptr) {
        return {};
    }
    if (type->kind == TypeKind::kEnum) {
        return type->values;
    }
    if (type->kind == TypeKind::kBuiltin && type->json_type == "boolean") {
        return {"false", "true"};
    }
    if (type->kind == TypeKind::kArray) {
        const SchemaType* element = schema.find_type(type->element);
        return element != nullptr && element->kind == TypeKind::kEnum ? element->values
                                                                      : std::vector<std::string>();
    }
    return {};
}

std::vector<std::string> complete_value(const QmpSchema& schema, const Place& root,
                                        std::string_view partial) {
    const size_t equals = partial.find('=');
    const Place place = follow(schema, root, partial.substr(0, equals));
    std::string before(partial.substr(0, equals + 1));
    const size_t comma = partial.rfind(',');
    if (place.type != nullptr && place.type->kind == TypeKind::kArray &&
        comma != std::string_view::npos && comma > equals) {
        before = partial.substr(0, comma + 1);
    }
    std::vector<std::string> words;
    for (const std::string& value : values_of(schema, place.type)) {
        words.push_back(before + value);
    }
    return words;
}

std::vector<std::string> complete_name(const QmpSchema& schema, const Place& root,
                                       std::string_view partial) {
    // A name may have dots itself, so each one could be the end of the path.
    std::vector<std::string> words;
    for (size_t end = 0; end != std::string_view::npos; end = partial.find('.', end)) {
        end += end == 0 ? 0 : 1;
        const std::string_view path = partial.substr(0, end == 0 ? 0 : end - 1);
        const Place place = follow(schema, root, path);
        for (const SchemaMember& member : members_at(schema, place)) {
            const SchemaType* type = schema.find_type(member.type);
            const bool object = type != nullptr && type->kind == TypeKind::kObject;
            const bool given =
                place.value != nullptr && find_member(*place.value, member.name) != nullptr;
            if (!given || object) {
                words.push_back(std::string(partial.substr(0, end)) + member.name +
                                (object ? "." : "="));
            }
        }
        end = std::max<size_t>(end, 1);
    }
    return words;
}

}  // namespace

std::vector<std::string> complete(const QmpSchema& schema,
                                  std::span<const std::string_view> own_commands,
                                  std::span<const std::string> words, std::string_view partial) {
    std::vector<std::string> found;
    if (words.empty()) {
        found = schema.commands();
        found.insert(found.end(), own_commands.begin(), own_commands.end());
    } else if (const SchemaType* type = schema.arguments_of(words.front())) {
        const Json given = collect_arguments(schema, words.front(), words.subspan(1));
        const Place root{type, &given};
        found = partial.find('=') == std::string_view::npos ? complete_name(schema, root, partial)
                                                            : complete_value(schema, root, partial);
    }
    std::erase_if(found, [partial](const std::string& word) {
        return !word.starts_with(partial) || (word == partial && word.ends_with('.'));
    });
    std::sort(found.begin(), found.end());
    found.erase(std::unique(found.begin(), found.end()), found.end());
    return found;
}

}  // namespace halcyon
