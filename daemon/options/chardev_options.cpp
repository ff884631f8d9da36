#include <sys/un.h>

#include <algorithm>
#include <bit>
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

Result<uint16_t> to_port(const char* key, const std::string& text) {
    const std::optional<uint64_t> port = parse_number(text);
    if (!port || *port > std::numeric_limits<uint16_t>::max()) {
        return invalid(std::string(key) + "= is a port from 0 to 65535, not '" + text + "'");
    }
    return static_cast<uint16_t>(*port);
}

/// The host and port of a TCP socket; nothing when there is neither.
Result<std::optional<InetOptions>> take_inet(KeyValues& values) {
    const std::optional<std::string> host = values.take("host");
    const std::optional<std::string> port = values.take("port");
    if (!host && !port) {
        return std::optional<InetOptions>();
    }
    if (!port) {
        return invalid("port= is missing");
    }
    InetOptions inet{.host = host.value_or(""), .port = TRY(to_port("port", *port))};
    if (const std::optional<std::string> last = values.take("to")) {
        inet.last_port = TRY(to_port("to", *last));
        if (*inet.last_port < inet.port) {
            return invalid("to= is less than port=");
        }
    }
    inet.ipv4 = TRY(values.take_bool("ipv4")).value_or(false);
    inet.ipv6 = TRY(values.take_bool("ipv6")).value_or(false);
    inet.nodelay = TRY(values.take_bool("nodelay")).value_or(true);
    return std::optional(std::move(inet));
}

/// reconnect= in seconds, reconnect-ms= in milliseconds; 0 for neither.
Result<std::chrono::milliseconds> take_reconnect(KeyValues& values) {
    constexpr uint64_t kLongest = 86400;
    const std::optional<uint64_t> seconds = TRY(values.take_number("reconnect", kLongest));
    const std::optional<uint64_t> milliseconds =
        TRY(values.take_number("reconnect-ms", kLongest * 1000));
    if (seconds && milliseconds) {
        return invalid("reconnect= and reconnect-ms= exclude each other");
    }
    return std::chrono::milliseconds(milliseconds.value_or(seconds.value_or(0) * 1000));
}

Result<SocketChardevOptions> take_socket(KeyValues& values) {
    SocketChardevOptions socket;
    socket.inet = TRY(take_inet(values));
    socket.path = values.take("path").value_or("");
    const std::optional<uint64_t> fd =
        TRY(values.take_number("fd", std::numeric_limits<int>::max()));
    socket.fd = fd ? static_cast<int>(*fd) : -1;
    socket.server = TRY(values.take_bool("server")).value_or(false);
    const std::optional<bool> wait = TRY(values.take_bool("wait"));
    socket.abstract = TRY(values.take_bool("abstract")).value_or(false);
    socket.tight = TRY(values.take_bool("tight")).value_or(true);
    socket.websocket = TRY(values.take_bool("websocket")).value_or(false);
    socket.reconnect = TRY(take_reconnect(values));
    TRY(values.expect_empty());
    if (wait && !socket.server) {
        return invalid("wait= is for a server; say server=on too");
    }
    socket.wait = socket.server && wait.value_or(true);
    TRY(check_socket(socket));
    return socket;
}

Result<RingbufChardevOptions> take_ringbuf(KeyValues& values) {
    RingbufChardevOptions ringbuf;
    if (const std::optional<std::string> text = values.take("size")) {
        const std::optional<uint64_t> size = parse_size(*text, 1);
        if (!size || *size > kMaxRingbuf || !std::has_single_bit(*size)) {
            return invalid("size= is a power of two up to 64M, not '" + *text + "'");
        }
        ringbuf.size = static_cast<uint32_t>(*size);
    }
    TRY(values.expect_empty());
    return ringbuf;
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
    } else if (kind == "ringbuf") {
        chardev.kind = TRY(take_ringbuf(values));
    } else {
        return invalid("there is no back end '" + kind +
                       "', only socket, stdio, file, pty, ringbuf and null");
    }
    return values.expect_empty();
}

/// "HOST:PORT,key=value,...", with an IPv6 address in brackets.
Result<SocketChardevOptions> parse_tcp(const std::string& text, bool websocket) {
    std::string place;
    KeyValues values = TRY(KeyValues::parse_with_head(text, &place));
    const size_t colon = place.rfind(':');
    if (colon == std::string::npos) {
        return invalid("'" + place + "' is no HOST:PORT");
    }
    if (values.take("host") || values.take("port") || values.take("path") || values.take("fd")) {
        return invalid("host=, port=, path= and fd= are for -chardev socket");
    }
    std::string host = place.substr(0, colon);
    if (host.starts_with('[') && host.ends_with(']')) {
        host = host.substr(1, host.size() - 2);
    }
    values.set("host", host);
    values.set("port", place.substr(colon + 1));
    if (websocket) {
        values.set("websocket", "on");
    }
    return take_socket(values);
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
    if (text.starts_with("fd=")) {
        KeyValues values = TRY(KeyValues::parse(text));
        chardev.kind = TRY(take_socket(values));
        return chardev;
    }
    for (const std::string scheme : {"tcp:", "websocket:"}) {
        if (text.starts_with(scheme)) {
            chardev.kind = TRY(parse_tcp(text.substr(scheme.size()), scheme == "websocket:"));
            return chardev;
        }
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
    if (kind != "stdio" && kind != "pty" && kind != "null" && kind != "ringbuf") {
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

/// Whether a back end is on the inherited descriptor.
bool is_used(const OptionParser& parser, int fd) {
    return std::ranges::any_of(parser.options.chardevs, [&](const ChardevOptions& chardev) {
        const auto* socket = std::get_if<SocketChardevOptions>(&chardev.kind);
        return socket != nullptr && socket->fd == fd;
    });
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

Result<void> check_socket(const SocketChardevOptions& socket) {
    const int places =
        (socket.path.empty() ? 0 : 1) + (socket.fd < 0 ? 0 : 1) + (socket.inet ? 1 : 0);
    if (places != 1) {
        return invalid(places == 0 ? "path=, host= and port=, or fd= is missing"
                                   : "path=, host= and port=, and fd= exclude each other");
    }
    if (socket.path.size() > kMaxSocketPath) {
        return invalid("the socket path is " + std::to_string(socket.path.size()) +
                       " bytes long; the system takes at most " + std::to_string(kMaxSocketPath));
    }
    if (socket.inet && !socket.server && socket.inet->host.empty()) {
        return invalid("host= is missing");
    }
    if (socket.inet && !socket.server && socket.inet->last_port) {
        return invalid("to= is for a server");
    }
    if (socket.websocket && !socket.server) {
        return invalid("websocket= is for a server; say server=on too");
    }
    if (socket.reconnect.count() != 0 && (socket.server || socket.fd >= 0)) {
        return invalid("reconnect= is for a client that connects to path= or host=");
    }
    return {};
}

Result<void> apply_chardev(OptionParser& parser, const std::string& argument) {
    KeyValues values = TRY(KeyValues::parse(argument, "backend"));
    const std::string kind = TRY(values.take_required("backend"));
    if (asks_for_help(kind)) {
        parser.options.information =
            "Character back ends:\nsocket\nstdio\nfile\npty\nringbuf\nnull\n";
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

Result<void> add_passed_sockets(OptionParser& parser) {
    for (const PassedSocket& socket : parser.passed_sockets) {
        const std::string number = std::to_string(socket.fd);
        if (is_used(parser, socket.fd)) {
            continue;
        }
        if (socket.name == kQmpSocketName) {
            parser.origin = "LISTEN_FDS: fd=" + number;
            TRY(add_monitor(parser, "fd=" + number + ",server=on,wait=off", false));
        } else {
            return invalid("LISTEN_FDS: descriptor " + number + " is called '" + socket.name +
                           "', and no option uses it; one called '" + kQmpSocketName +
                           "' is a QMP monitor");
        }
    }
    return {};
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
