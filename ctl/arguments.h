/// A command's arguments from KEY=VALUE words, typed by the server's schema.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "ctl/qmp_schema.h"
#include "protocol/json.h"

namespace halcyon {

/// The arguments of `command` as an object; null when there are no words.
///
/// A key names a member, or a member of a member: "backend.data.out". In lists the name is the
/// element's number, from 0 on. The order does not matter, even where the value of one member says
/// which others there are. A word that begins with '{' is an object with arguments, in JSON.
/// Without a schema (null), a value that reads as JSON is that, and any other a string. Errors are
/// usage errors, in one line.
[[nodiscard]] Result<Json> build_arguments(const QmpSchema* schema, std::string_view command,
                                           std::span<const std::string> words);

/// What can be made of the words of a command line that is still being written: those with faults
/// are left out. Always an object.
[[nodiscard]] Json collect_arguments(const QmpSchema& schema, std::string_view command,
                                     std::span<const std::string> words);

/// A value of the type of that name: true, on, 0x10, a,b, or JSON, as the type allows.
[[nodiscard]] Result<Json> parse_value(const QmpSchema& schema, std::string_view type_name,
                                       std::string_view text);

/// One JSON value in QEMU's dialect (which has strings in single quotes too), and nothing else.
[[nodiscard]] Result<Json> parse_json(std::string_view text);

/// The member whose name `path` begins with, up to its end or a dot; the longest, because names
/// may have dots themselves. Null without one.
[[nodiscard]] const SchemaMember* match_member(std::span<const SchemaMember> members,
                                               std::string_view path);

}  // namespace halcyon
