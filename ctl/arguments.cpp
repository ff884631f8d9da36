#include "ctl/arguments.h"

#include <charconv>
#include <cmath>
#include <utility>
#include <vector>

#include "ctl/exit_status.h"
#include "ctl/json_access.h"
#include "ctl/similar.h"
#include "protocol/framer.h"

namespace halcyon {
namespace {

/// Alternates, lists and paths may be nested this deep; a server's schema could nest for ever.
constexpr int kMaxDepth = 64;
/// Elements of a list that are given one by one.
constexpr size_t kMaxElements = 4096;

std::string in_quotes(std::string_view text) {
    return "'" + std::string(text) + "'";
}

template <typename Integer>
std::optional<Integer> read_integer(std::string_view text, int base) {
    Integer value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    return error == std::errc() && end == text.data() + text.size() && !text.empty()
               ? std::optional<Integer>(value)
               : std::nullopt;
}

std::optional<Json> read_integer(std::string_view text) {
    const bool hex = text.starts_with("0x") || text.starts_with("0X");
    if (const auto value = read_integer<uint64_t>(hex ? text.substr(2) : text, hex ? 16 : 10)) {
        return Json(*value);
    }
    if (const auto value = hex ? std::nullopt : read_integer<int64_t>(text, 10)) {
        return Json(*value);
    }
    return std::nullopt;
}

std::optional<Json> read_number(std::string_view text) {
    if (std::optional<Json> integer = read_integer(text)) {
        return integer;
    }
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool all = error == std::errc() && end == text.data() + text.size();
    return all && std::isfinite(value) ? std::optional<Json>(value) : std::nullopt;
}

std::optional<Json> read_boolean(std::string_view text) {
    if (text == "true" || text == "on" || text == "yes") {
        return Json(true);
    }
    return text == "false" || text == "off" || text == "no" ? std::optional<Json>(false)
                                                            : std::nullopt;
}

Json guess_value(std::string_view text) {
    Result<Json> value = parse_json(text);
    return value ? *std::move(value) : Json(std::string(text));
}

std::optional<Json> read_builtin(std::string_view json_type, std::string_view text) {
    if (json_type == "string") {
        return Json(std::string(text));
    }
    if (json_type == "int") {
        return read_integer(text);
    }
    if (json_type == "number") {
        return read_number(text);
    }
    if (json_type == "boolean") {
        return read_boolean(text);
    }
    if (json_type == "null") {
        return text == "null" ? std::optional<Json>(nullptr) : std::nullopt;
    }
    return guess_value(text);
}

/// Reads values of types. Separate from ArgumentBuilder, which knows where they go.
class ValueReader {
public:
    explicit ValueReader(const QmpSchema& schema) : schema_(schema) {}

    Result<Json> read(std::string_view type_name, std::string_view text, int depth) {
        const SchemaType* type = schema_.find_type(type_name);
        if (type == nullptr) {
            return guess_value(text);
        }
        std::optional<Json> value;
        switch (type->kind) {
            case TypeKind::kBuiltin:
                value = read_builtin(type->json_type, text);
                break;
            case TypeKind::kEnum:
                return read_enum(*type, text);
            case TypeKind::kArray:
                return read_array(type_name, *type, text, depth);
            case TypeKind::kObject:
                return read_container(type_name, text, '{');
            case TypeKind::kAlternate:
                value = read_alternate(*type, text, depth);
                break;
        }
        return value ? Result<Json>(*std::move(value)) : wrong(type_name, text);
    }

private:
    [[nodiscard]] Error wrong(std::string_view type_name, std::string_view text) const {
        return usage_error(in_quotes(text) + " is not " + schema_.describe(type_name));
    }

    static Result<Json> read_enum(const SchemaType& type, std::string_view text) {
        for (const std::string& value : type.values) {
            if (value == text) {
                return Json(value);
            }
        }
        return usage_error(in_quotes(text) + " is not one of " + join_names(type.values) +
                           did_you_mean(text, type.values));
    }

    Result<Json> read_container(std::string_view type_name, std::string_view text, char bracket) {
        return text.starts_with(bracket) ? parse_json(text) : wrong(type_name, text);
    }

    Result<Json> read_array(std::string_view type_name, const SchemaType& type,
                            std::string_view text, int depth) {
        const SchemaType* element = schema_.find_type(type.element);
        const bool plain = element != nullptr && (element->kind == TypeKind::kBuiltin ||
                                                  element->kind == TypeKind::kEnum);
        if (text.starts_with('[') || !plain || depth > kMaxDepth) {
            return read_container(type_name, text, '[');
        }
        Json list = Json::array();
        while (!text.empty()) {
            const size_t comma = std::min(text.find(','), text.size());
            list.push_back(TRY(read(type.element, text.substr(0, comma), depth + 1)));
            text.remove_prefix(std::min(comma + 1, text.size()));
        }
        return list;
    }

    /// The first of the alternatives that takes the text; one that takes any, a string, is last.
    std::optional<Json> read_alternate(const SchemaType& type, std::string_view text, int depth) {
        std::optional<Json> as_string;
        for (const SchemaMember& choice : type.members) {
            Result<Json> value =
                depth > kMaxDepth ? wrong(choice.type, text) : read(choice.type, text, depth + 1);
            const SchemaType* chosen = schema_.find_type(choice.type);
            if (value && chosen != nullptr && chosen->json_type == "string") {
                as_string = *std::move(value);
            } else if (value) {
                return *std::move(value);
            }
        }
        return as_string;
    }

    const QmpSchema& schema_;
};

/// Puts values where their keys say.
class ArgumentBuilder {
public:
    explicit ArgumentBuilder(const QmpSchema& schema) : schema_(schema) {}

    /// Whether it was done, or waits for a tag that `waits_for` then names.
    Result<bool> assign(Json& object, const SchemaType& type, std::string_view key,
                        std::string_view value) {
        key_ = key;
        value_ = value;
        return enter_object(object, type, key, 0);
    }

    [[nodiscard]] const std::string& waits_for() const { return waits_for_; }

private:
    /// The key up to where `rest` begins, without the dot.
    [[nodiscard]] std::string_view before(std::string_view rest) const {
        const size_t length = key_.size() - rest.size();
        return key_.substr(0, length == 0 ? 0 : length - 1);
    }

    Result<bool> enter(Json& target, std::string_view type_name, std::string_view rest, int depth) {
        if (rest.empty()) {
            return put(target, type_name);
        }
        const SchemaType* type = depth > kMaxDepth ? nullptr : schema_.find_type(type_name);
        if (type != nullptr && type->kind == TypeKind::kAlternate) {
            type = object_choice(*type);
        }
        if (type != nullptr && type->kind == TypeKind::kObject) {
            return enter_object(target, *type, rest, depth);
        }
        if (type != nullptr && type->kind == TypeKind::kArray) {
            return enter_array(target, *type, rest, depth);
        }
        return usage_error(in_quotes(before(rest)) + " has no members: it is " +
                           schema_.describe(type_name));
    }

    Result<bool> put(Json& target, std::string_view type_name) {
        if (!target.is_null()) {
            return usage_error(in_quotes(key_) + " is given twice");
        }
        Result<Json> value = ValueReader(schema_).read(type_name, value_, 0);
        if (!value) {
            return std::move(value).error().with_context(std::string(key_));
        }
        target = *std::move(value);
        return true;
    }

    [[nodiscard]] const SchemaType* object_choice(const SchemaType& alternate) const {
        for (const SchemaMember& choice : alternate.members) {
            const SchemaType* type = schema_.find_type(choice.type);
            if (type != nullptr && type->kind == TypeKind::kObject) {
                return type;
            }
        }
        return nullptr;
    }

    Result<bool> enter_object(Json& target, const SchemaType& type, std::string_view rest,
                              int depth) {
        const Json* tag = find_member(target, type.tag);
        const auto tag_value =
            tag != nullptr && tag->is_string()
                ? std::optional<std::string_view>(tag->get_ref<std::string const&>())
                : std::nullopt;
        const std::vector<SchemaMember> members = schema_.members_of(type, tag_value);
        const SchemaMember* member = match_member(members, rest);
        if (member == nullptr && !type.variants.empty() && !tag_value) {
            const std::string_view path = before(rest);
            waits_for_ = std::string(path) + (path.empty() ? "" : ".") + type.tag;
            return false;
        }
        if (member == nullptr) {
            return unknown(members, rest);
        }
        if (target.is_null()) {
            target = Json::object();
        }
        if (!target.is_object()) {
            return usage_error(in_quotes(before(rest)) + " is given twice");
        }
        std::string_view inner = rest.substr(member->name.size());
        inner.remove_prefix(inner.empty() ? 0 : 1);
        return enter(target[member->name], member->type, inner, depth + 1);
    }

    Result<bool> enter_array(Json& target, const SchemaType& type, std::string_view rest,
                             int depth) {
        const size_t end = std::min(rest.find('.'), rest.size());
        const auto index = read_integer<size_t>(rest.substr(0, end), 10);
        if (target.is_null()) {
            target = Json::array();
        }
        if (!index || !target.is_array() || *index > target.size() || *index >= kMaxElements) {
            return usage_error(in_quotes(before(rest)) + " is a list: its elements are " +
                               in_quotes(std::string(before(rest)) + ".0") +
                               " and so on, in order");
        }
        if (*index == target.size()) {
            target.push_back(nullptr);
        }
        return enter(target[*index], type.element, rest.substr(std::min(end + 1, rest.size())),
                     depth + 1);
    }

    [[nodiscard]] Error unknown(const std::vector<SchemaMember>& members,
                                std::string_view rest) const {
        std::vector<std::string> names;
        names.reserve(members.size());
        for (const SchemaMember& member : members) {
            names.push_back(member.name);
        }
        const std::string_view name = rest.substr(0, rest.find('.'));
        const std::string_view path = before(rest);
        const std::string where = path.empty() ? "it" : in_quotes(path);
        const std::string what = path.empty()
                                     ? "no argument " + in_quotes(name)
                                     : in_quotes(path) + " has no member " + in_quotes(name);
        return usage_error(what +
                           (names.empty() ? "; " + where + " takes none"
                                          : "; " + where + " takes " + join_names(names)) +
                           did_you_mean(name, names));
    }

    const QmpSchema& schema_;
    std::string_view key_;
    std::string_view value_;
    std::string waits_for_;
};

struct Assignment {
    std::string_view key;
    std::string_view value;
};

Result<std::vector<Assignment>> split_words(std::span<const std::string> words, Json& arguments) {
    std::vector<Assignment> assignments;
    for (const std::string& word : words) {
        if (word.starts_with('{')) {
            Json given = TRY(parse_json(word));
            if (!given.is_object() || !arguments.empty()) {
                return usage_error("arguments in JSON are one object");
            }
            arguments = std::move(given);
            continue;
        }
        const size_t equals = word.find('=');
        if (equals == std::string::npos || equals == 0) {
            return usage_error(in_quotes(word) + " is not KEY=VALUE");
        }
        assignments.push_back(
            {std::string_view(word).substr(0, equals), std::string_view(word).substr(equals + 1)});
    }
    return assignments;
}

Result<void> assign_all(const QmpSchema& schema, const SchemaType& type,
                        std::vector<Assignment> assignments, Json& arguments) {
    ArgumentBuilder builder(schema);
    while (!assignments.empty()) {
        std::vector<Assignment> waiting;
        for (const Assignment& assignment : assignments) {
            if (!TRY(builder.assign(arguments, type, assignment.key, assignment.value))) {
                waiting.push_back(assignment);
            }
        }
        if (waiting.size() == assignments.size()) {
            return usage_error(in_quotes(waiting.front().key) + " depends on " +
                               in_quotes(builder.waits_for()) + ", which is not given");
        }
        assignments = std::move(waiting);
    }
    return {};
}

Result<void> check_complete(const QmpSchema& schema, const SchemaType& type,
                            const Json& arguments) {
    for (const SchemaMember& member : type.members) {
        if (!member.optional && find_member(arguments, member.name) == nullptr) {
            return usage_error(in_quotes(member.name) +
                               " is missing: " + schema.describe(member.type));
        }
    }
    return {};
}

Result<void> assign_untyped(const std::vector<Assignment>& assignments, Json& arguments) {
    for (const Assignment& assignment : assignments) {
        Json* target = &arguments;
        for (std::string_view rest = assignment.key; !rest.empty();) {
            if (!target->is_null() && !target->is_object()) {
                return usage_error(in_quotes(assignment.key) + " is within another value");
            }
            const size_t end = std::min(rest.find('.'), rest.size());
            target = &(*target)[std::string(rest.substr(0, end))];
            rest.remove_prefix(std::min(end + 1, rest.size()));
        }
        if (!target->is_null()) {
            return usage_error(in_quotes(assignment.key) + " is given twice");
        }
        *target = guess_value(assignment.value);
    }
    return {};
}

Json collect(const QmpSchema& schema, std::string_view command,
             std::span<const std::string> words) {
    Json arguments = Json::object();
    const SchemaType* type = schema.arguments_of(command);
    if (type == nullptr) {
        return arguments;
    }
    ArgumentBuilder builder(schema);
    // Twice, because a tag may come after what depends on it.
    for (int round = 0; round < 2; ++round) {
        for (const std::string& word : words) {
            const size_t equals = std::min(word.find('='), word.size());
            const std::string_view value = std::string_view(word).substr(equals);
            if (!value.empty()) {
                (void)builder.assign(arguments, *type, std::string_view(word).substr(0, equals),
                                     value.substr(1));
            }
        }
    }
    return arguments;
}

Result<Json> build(const QmpSchema* schema, std::string_view command,
                   std::span<const std::string> words) {
    Json arguments = Json::object();
    const std::vector<Assignment> assignments = TRY(split_words(words, arguments));
    const SchemaType* type = schema == nullptr ? nullptr : schema->arguments_of(command);
    if (type == nullptr) {
        TRY(assign_untyped(assignments, arguments));
    } else {
        TRY(assign_all(*schema, *type, assignments, arguments));
        TRY(check_complete(*schema, *type, arguments));
    }
    return arguments.empty() ? Json() : std::move(arguments);
}

}  // namespace

const SchemaMember* match_member(std::span<const SchemaMember> members, std::string_view path) {
    const SchemaMember* best = nullptr;
    for (const SchemaMember& member : members) {
        const size_t length = member.name.size();
        if (length != 0 && path.starts_with(member.name) &&
            (path.size() == length || path[length] == '.') &&
            (best == nullptr || length > best->name.size())) {
            best = &member;
        }
    }
    return best;
}

Result<Json> parse_json(std::string_view text) {
    const std::string bytes = std::string(text) + "\n";  // which ends a number
    Framer framer;
    framer.feed(bytes);
    std::optional<Frame> frame = framer.next();
    if (!frame) {
        return usage_error(in_quotes(text) + " is not a whole JSON value");
    }
    if (frame->is_error()) {
        return usage_error(in_quotes(text) + ": " + frame->error());
    }
    const size_t end = bytes.size() - framer.unread();
    if (bytes.find_first_not_of(" \t\r\n", end) != std::string::npos) {
        return usage_error(in_quotes(text) + " is more than one JSON value");
    }
    return std::move(frame->value());
}

Result<Json> parse_value(const QmpSchema& schema, std::string_view type_name,
                         std::string_view text) {
    return ValueReader(schema).read(type_name, text, 0);
}

Json collect_arguments(const QmpSchema& schema, std::string_view command,
                       std::span<const std::string> words) {
    return collect(schema, command, words);
}

Result<Json> build_arguments(const QmpSchema* schema, std::string_view command,
                             std::span<const std::string> words) {
    Result<Json> arguments = build(schema, command, words);
    if (!arguments) {
        return std::move(arguments).error().with_context(std::string(command));
    }
    return arguments;
}

}  // namespace halcyon
