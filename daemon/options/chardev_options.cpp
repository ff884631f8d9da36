#include <sys/un.h>

#include <algorithm>
#include <cstddef>
#include <limits>

#include "daemon/options/key_values.h"
#include "daemon/options/option_table.h"
#include "daemon/options/values.h"

namespace halcyon {
namespace {

/// A path needs room for its NUL byte, an abstract name for the one in front (unix(7)).
constexpr size_t kMaxSocketPath = sizeof(sockaddr_un::sun_path) - 1;
/// COM1 to COM4.
constexpr size_t kMaxSerialPorts = 4;

Error invalid(std::string message) {
    return Error(std::move(message), ErrorCode::kInvalidArgument);
}

Result<SocketChardevOptions> take_socket(KeyValues& values) {
    SocketChardevOptions socket;
    if (values.take("host") || values.take("port")) {
        return invalid("TCP sockets are not supported; give path= or fd=");
    }
    socket.path = values.take("path").value_or("");
    const std::optional<uint64_t> fd =
        TRY(values.take_number("fd", std::numeric_limits<int>::max()));
    socket.fd = fd ? static_cast<int>(*fd) : -1;
    socket.server = TRY(values.take_bool("server")).value_or(false);
    const std::optional<bool> wait = TRY(values.take_bool("wait"));
    socket.abstract = TRY(values.take_bool("abstract")).value_or(false);
    socket.tight = TRY(values.take_bool("tight")).value_or(true);
    TRY(values.expect_empty());
    if (wait && !socket.server) {
        return invalid("wait= is for a server; say server=on too");
    }
    socket.wait = socket.server && wait.value_or(true);
    if (socket.path.empty() == (socket.fd < 0)) {
        return invalid(socket.path.empty() ? "path= or fd= is missing"
                                           : "path= and fd= exclude each other");
    }
    if (socket.path.size() > kMaxSocketPath) {
        return invalid("the socket path is " + std::to_string(socket.path.size()) +
                       " bytes long; the system takes at most " + std::to_string(kMaxSocketPath));
    }
    return socket;
}

Result<FileChardevOptions> take_file(KeyValues& values) {
    FileChardevOptions file;
    file.path = TRY(values.take_required("path"));
    file.append = TRY(values.take_bool("append")).value_or(false);
    TRY(values.expect_empty());
    return file;
}

/// The part of a -chardev behind its kind and id.
Result<void> take_kind(const std::string& kind, KeyValues& values, ChardevOptions& chardev) {
    if (kind == "socket") {
        chardev.kind = TRY(take_socket(values));
    } else if (kind == "stdio") {
        chardev.kind =
            StdioChardevOptions{.signals = TRY(values.take_bool("signal")).value_or(true)};
    } else if (kind == "file") {
        chardev.kind = TRY(take_file(values));
    } else if (kind == "pty") {
        chardev.kind = PtyChardevOptions();
    } else if (kind == "null") {
        chardev.kind = NullChardevOptions();
    } else {
        return invalid("there is no back end '" + kind +
                       "', only socket, stdio, file, pty and null");
    }
    return values.expect_empty();
}

/// The back end that -serial, -debugcon and -qmp describe in place: "stdio", "unix:PATH,...".
Result<ChardevOptions> parse_in_place(const OptionParser& parser, const std::string& id,
                                      const std::string& text) {
    ChardevOptions chardev{.id = id, .origin = parser.origin, .kind = {}};
    if (text.starts_with("unix:")) {
        std::string path;
        KeyValues values = TRY(KeyValues::parse_with_head(std::string_view(text).substr(5), &path));
        if (path.empty()) {
            return invalid("the path behind unix: is missing");
        }
        if (values.take("path") || values.take("fd")) {
            return invalid("path= and fd= are for -chardev socket");
        }
        values.set("path", path);
        chardev.kind = TRY(take_socket(values));
        return chardev;
    }
    if (text.starts_with("file:")) {
        // All of the rest is the path, commas included, as in QEMU.
        FileChardevOptions file{.path = text.substr(5), .append = false};
        if (file.path.empty()) {
            return invalid("the path behind file: is missing");
        }
        chardev.kind = file;
        return chardev;
    }
    KeyValues values = TRY(KeyValues::parse(text, "kind"));
    const std::string kind = TRY(values.take_required("kind"));
    if (kind != "stdio" && kind != "pty" && kind != "null") {
        return invalid("'" + kind + "' is no back end");
    }
    TRY(take_kind(kind, values, chardev));
    return chardev;
}

/// The id of the back end that `text` names ("chardev:ID") or describes, which is then added as
/// `id`.
Result<std::string> refer_or_add(OptionParser& parser, const std::string& id,
                                 const std::string& text) {
    constexpr std::string_view kReference = "chardev:";
    if (text.starts_with(kReference)) {
        const std::string name = text.substr(kReference.size());
        if (name.empty()) {
            return invalid("the id behind chardev: is missing");
        }
        return name;
    }
    parser.options.chardevs.push_back(TRY(parse_in_place(parser, id, text)));
    return id;
}

Result<void> add_monitor(OptionParser& parser, const std::string& argument, bool pretty) {
    // QEMU's name for it, as query-chardev shows it.
    const std::string id = "compat_monitor" + std::to_string(parser.options.monitors.size());
    const std::string chardev_id = TRY(refer_or_add(parser, id, argument));
    parser.options.monitors.push_back({.chardev_id = chardev_id, .pretty = pretty});
    parser.monitor_origins.push_back(parser.origin);
    return {};
}

Error at(const std::string& origin, const std::string& message) {
    return invalid(origin + ": " + message);
}

/// One use of a back end: each may have only one.
struct Use {
    std::string chardev_id;
    std::string origin;
};

std::vector<Use> list_uses(const OptionParser& parser) {
    std::vector<Use> uses;
    for (size_t number = 0; number < parser.options.monitors.size(); ++number) {
        uses.push_back(
            {parser.options.monitors[number].chardev_id, parser.monitor_origins[number]});
    }
    for (size_t number = 0; number < parser.options.serial.size(); ++number) {
        if (parser.options.serial[number]) {
            uses.push_back({*parser.options.serial[number], parser.serial_origins[number]});
        }
    }
    if (parser.options.debugcon) {
        uses.push_back({*parser.options.debugcon, parser.debugcon_origin});
    }
    return uses;
}

/// Ids are unique, and the process has one standard input.
Result<void> check_definitions(const OptionParser& parser) {
    const ChardevOptions* stdio = nullptr;
    const std::vector<ChardevOptions>& chardevs = parser.options.chardevs;
    for (auto chardev = chardevs.begin(); chardev != chardevs.end(); ++chardev) {
        const auto same = [&](const ChardevOptions& other) { return other.id == chardev->id; };
        if (std::any_of(chardevs.begin(), chardev, same)) {
            return at(chardev->origin, "there already is a chardev '" + chardev->id + "'");
        }
        if (!std::holds_alternative<StdioChardevOptions>(chardev->kind)) {
            continue;
        }
        if (stdio != nullptr) {
            return at(chardev->origin, "stdio is already taken by " + stdio->origin);
        }
        if (parser.options.daemonize) {
            return at(chardev->origin, "stdio cannot be used with -daemonize");
        }
        stdio = &*chardev;
    }
    return {};
}

}  // namespace

Result<void> apply_chardev(OptionParser& parser, const std::string& argument) {
    KeyValues values = TRY(KeyValues::parse(argument, "backend"));
    const std::string kind = TRY(values.take_required("backend"));
    if (asks_for_help(kind)) {
        parser.options.information = "Character back ends:\nsocket\nstdio\nfile\npty\nnull\n";
        return {};
    }
    ChardevOptions chardev{
        .id = TRY(values.take_required("id")), .origin = parser.origin, .kind = {}};
    if (!is_identifier(chardev.id)) {
        return invalid("id '" + chardev.id +
                       "' must be a letter, then letters, digits, '-', '.' or '_'");
    }
    TRY(take_kind(kind, values, chardev));
    parser.options.chardevs.push_back(std::move(chardev));
    return {};
}

Result<void> apply_serial(OptionParser& parser, const std::string& argument) {
    const size_t number = parser.options.serial.size();
    if (number == kMaxSerialPorts) {
        return invalid("there are only " + std::to_string(kMaxSerialPorts) + " serial ports");
    }
    std::optional<std::string> id;
    if (argument != "none") {
        id = TRY(refer_or_add(parser, "serial" + std::to_string(number), argument));
    }
    parser.options.serial.push_back(std::move(id));
    parser.serial_origins.push_back(parser.origin);
    return {};
}

Result<void> apply_debugcon(OptionParser& parser, const std::string& argument) {
    if (parser.options.debugcon) {
        return invalid("there is only one debug console");
    }
    if (argument == "none") {
        return {};
    }
    parser.options.debugcon = TRY(refer_or_add(parser, "debugcon", argument));
    parser.debugcon_origin = parser.origin;
    return {};
}

Result<void> apply_mon(OptionParser& parser, const std::string& argument) {
    KeyValues values = TRY(KeyValues::parse(argument, "chardev"));
    MonitorOptions monitor;
    monitor.chardev_id = TRY(values.take_required("chardev"));
    const std::string mode = values.take("mode").value_or("readline");
    monitor.pretty = TRY(values.take_bool("pretty")).value_or(false);
    TRY(values.expect_empty());
    if (mode == "readline") {
        return invalid("the human monitor is not supported; say mode=control for QMP");
    }
    if (mode != "control") {
        return invalid("mode must be control, not '" + mode + "'");
    }
    parser.options.monitors.push_back(std::move(monitor));
    parser.monitor_origins.push_back(parser.origin);
    return {};
}

Result<void> apply_qmp(OptionParser& parser, const std::string& argument) {
    return add_monitor(parser, argument, false);
}

Result<void> apply_qmp_pretty(OptionParser& parser, const std::string& argument) {
    return add_monitor(parser, argument, true);
}

Result<void> apply_monitor(OptionParser&, const std::string& argument) {
    if (argument == "none" || argument == "null") {
        return {};
    }
    return invalid("the human monitor is not supported; QMP is -qmp");
}

Result<void> finish_chardevs(OptionParser& parser) {
    if (parser.nographic && !parser.nodefaults && parser.options.serial.empty()) {
        parser.origin = "-nographic";
        TRY(apply_serial(parser, "stdio"));
    }
    TRY(check_definitions(parser));
    const std::vector<ChardevOptions>& chardevs = parser.options.chardevs;
    const std::vector<Use> uses = list_uses(parser);
    for (auto use = uses.begin(); use != uses.end(); ++use) {
        const auto defines = [&](const ChardevOptions& chardev) {
            return chardev.id == use->chardev_id;
        };
        if (std::none_of(chardevs.begin(), chardevs.end(), defines)) {
            return at(use->origin, "there is no chardev '" + use->chardev_id + "'");
        }
        const auto earlier = std::find_if(uses.begin(), use, [&](const Use& other) {
            return other.chardev_id == use->chardev_id;
        });
        if (earlier != use) {
            return at(use->origin,
                      "chardev '" + use->chardev_id + "' is already used by " + earlier->origin);
        }
    }
    return {};
}

}  // namespace halcyon
