// Commands about the character back ends.

#include <fcntl.h>

#include <bit>
#include <span>
#include <type_traits>
#include <variant>

#include "daemon/chardev/kinds.h"
#include "daemon/command_context.h"
#include "daemon/commands/base64.h"
#include "daemon/options/values.h"
#include "qmp_commands.h"

namespace halcyon::qmp {
namespace {

Result<uint16_t> to_port(const std::string& text) {
    const std::optional<uint64_t> port = parse_number(text);
    if (!port || *port > UINT16_MAX) {
        return Error("port '" + text + "' is no number from 0 to 65535");
    }
    return static_cast<uint16_t>(*port);
}

/// From a command's arguments to the options that the command line would have given.
class Converter {
public:
    Converter(CommandContext& context, Session& session) : context_(context), session_(session) {}

    using Kind = decltype(ChardevOptions::kind);

    Result<Kind> convert(const ChardevBackend& backend) {
        switch (backend.type) {
            case ChardevBackendKind::kFile:
                return file(std::get<ChardevFileWrapper>(backend.branch).data);
            case ChardevBackendKind::kSocket:
                return socket(std::get<ChardevSocketWrapper>(backend.branch).data);
            case ChardevBackendKind::kPty:
                return Kind(PtyChardevOptions());
            case ChardevBackendKind::kNull:
                return Kind(NullChardevOptions());
            case ChardevBackendKind::kStdio:
                return Kind(StdioChardevOptions{
                    .signals =
                        std::get<ChardevStdioWrapper>(backend.branch).data.signal.value_or(true)});
            case ChardevBackendKind::kRingbuf:
            case ChardevBackendKind::kMemory:
                return ringbuf(std::get<ChardevRingbufWrapper>(backend.branch).data);
        }
        return Error("no such kind of character device");
    }

    /// What all kinds take: logfile and logappend.
    Result<std::optional<FileChardevOptions>> convert_log(const ChardevBackend& backend) {
        using Log = std::optional<FileChardevOptions>;
        return std::visit(
            [this]<typename Branch>(const Branch& branch) -> Result<Log> {
                if constexpr (!std::is_same_v<Branch, std::monostate>) {
                    if (branch.data.logfile) {
                        return Log(TRY(
                            output(*branch.data.logfile, branch.data.logappend.value_or(false))));
                    }
                }
                return Log();
            },
            backend.branch);
    }

private:
    Result<FileChardevOptions> output(const std::string& path, bool append) {
        FileChardevOptions options{.path = path, .append = append};
        if (const std::optional<int64_t> set = DescriptorSets::set_of(path)) {
            options.fd = TRY(context_.descriptor_sets().open(*set, O_WRONLY)).release();
        }
        return options;
    }

    Result<Kind> file(const ChardevFile& file) {
        return Kind(TRY(output(file.out, file.append.value_or(false))));
    }

    static Result<Kind> ringbuf(const ChardevRingbuf& ringbuf) {
        const int64_t size = ringbuf.size.value_or(RingbufChardevOptions().size);
        if (size <= 0 || !std::has_single_bit(static_cast<uint64_t>(size))) {
            return Error("size of ringbuf chardev must be power of two");
        }
        if (static_cast<uint64_t>(size) > kMaxRingbuf) {
            return Error("size of ringbuf chardev must be at most " + std::to_string(kMaxRingbuf));
        }
        return Kind(RingbufChardevOptions{.size = static_cast<uint32_t>(size)});
    }

    Result<Kind> socket(const ChardevSocket& socket) {
        SocketChardevOptions options;
        options.server = socket.server.value_or(true);
        options.websocket = socket.websocket.value_or(false);
        options.reconnect = std::chrono::seconds(socket.reconnect.value_or(0));
        if (options.websocket && !options.server) {
            return Error("Websocket client is not implemented");
        }
        if (options.server && options.reconnect.count() != 0) {
            return Error("'reconnect' option is incompatible with socket in server listen mode");
        }
        if (options.reconnect.count() < 0) {
            return Error("'reconnect' must not be negative");
        }
        if (socket.telnet.value_or(false) || socket.tn3270.value_or(false)) {
            return Error(std::string("'") + (socket.telnet.value_or(false) ? "telnet" : "tn3270") +
                         "' is not supported; say false");
        }
        if (socket.wait.value_or(false)) {
            return Error("'wait' would stop the monitor until a client comes; say false");
        }
        TRY(take_address(socket, options));
        if (const Result<void> checked = check_socket(options); !checked) {
            const UniqueFd passed(options.fd);
            return checked.error();
        }
        return Kind(options);
    }

    Result<void> take_address(const ChardevSocket& socket, SocketChardevOptions& options) {
        const SocketAddressLegacy& address = socket.addr;
        if (const auto* unix_socket = std::get_if<UnixSocketAddressWrapper>(&address.branch)) {
            options.path = unix_socket->data.path;
            options.abstract = unix_socket->data.abstract.value_or(false);
            options.tight = unix_socket->data.tight.value_or(true);
        } else if (const auto* inet = std::get_if<InetSocketAddressWrapper>(&address.branch)) {
            options.inet = InetOptions{.host = inet->data.host,
                                       .port = TRY(to_port(inet->data.port)),
                                       .last_port = inet->data.to,
                                       .ipv4 = inet->data.ipv4.value_or(false),
                                       .ipv6 = inet->data.ipv6.value_or(false),
                                       .nodelay = socket.nodelay.value_or(true),
                                       .numeric = inet->data.numeric.value_or(false),
                                       .keep_alive = inet->data.keep_alive.value_or(false)};
        } else if (const auto* passed = std::get_if<FdSocketAddressWrapper>(&address.branch)) {
            const std::string& name = passed->data.str;
            UniqueFd fd = context_.monitor(session_).descriptors().take(name);
            if (!fd) {
                return Error("File descriptor named '" + name + "' has not been found");
            }
            options.fd = fd.release();
        }
        return {};
    }

    CommandContext& context_;
    Session& session_;
};

Result<ChardevOptions> to_options(CommandContext& context, Session& session, const std::string& id,
                                  const ChardevBackend& backend) {
    const std::string origin = "Failed to add chardev '" + id + "'";
    Converter converter(context, session);
    Result<std::optional<FileChardevOptions>> log = converter.convert_log(backend);
    if (!log) {
        return std::move(log).error().with_context(origin);
    }
    Result<Converter::Kind> kind = converter.convert(backend);
    if (!kind) {
        const UniqueFd unused(*log ? (*log)->fd : -1);
        return std::move(kind).error().with_context(origin);
    }
    return ChardevOptions{
        .id = id, .origin = origin, .kind = *std::move(kind), .log = *std::move(log)};
}

ChardevReturn describe(const Chardev& made) {
    const auto* pty = dynamic_cast<const PtyChardev*>(&made);
    return {.pty = pty != nullptr ? std::optional(pty->path()) : std::nullopt};
}

Result<RingbufChardev*> find_ringbuf(CommandContext& context, const std::string& id) {
    Chardev* chardev = context.chardevs().find(id);
    if (chardev == nullptr) {
        return Error("Device '" + id + "' not found");
    }
    auto* ringbuf = dynamic_cast<RingbufChardev*>(chardev);
    if (ringbuf == nullptr) {
        return Error(id + " is not a ringbuf device");
    }
    return ringbuf;
}

}  // namespace

Result<std::vector<ChardevInfo>> qmp_query_chardev(CommandContext& context) {
    std::vector<ChardevInfo> infos;
    for (const std::unique_ptr<Chardev>& chardev : context.chardevs().all()) {
        infos.push_back({.label = chardev->id(),
                         .filename = chardev->filename(),
                         .frontend_open = chardev->has_frontend()});
    }
    return infos;
}

Result<std::vector<ChardevBackendInfo>> qmp_query_chardev_backends(CommandContext&) {
    // The kinds of create_chardev.
    return std::vector<ChardevBackendInfo>{{"socket"}, {"stdio"}, {"file"},
                                           {"pty"},    {"null"},  {"ringbuf"}};
}

Result<ChardevReturn> qmp_chardev_add(CommandContext& context, Session& session,
                                      const ChardevAddArguments& arguments) {
    if (context.chardevs().find(arguments.id) != nullptr) {
        return Error("Chardev with id '" + arguments.id + "' already exists");
    }
    const ChardevOptions options =
        TRY(to_options(context, session, arguments.id, arguments.backend));
    return describe(*TRY(context.chardevs().add(options)));
}

Result<ChardevReturn> qmp_chardev_change(CommandContext& context, Session& session,
                                         const ChardevChangeArguments& arguments) {
    if (context.chardevs().find(arguments.id) == nullptr) {
        return Error("Chardev '" + arguments.id + "' does not exist");
    }
    const ChardevOptions options =
        TRY(to_options(context, session, arguments.id, arguments.backend));
    return describe(*TRY(context.chardevs().change(options)));
}

Result<void> qmp_chardev_remove(CommandContext& context, const ChardevRemoveArguments& arguments) {
    return context.chardevs().remove(arguments.id);
}

Result<void> qmp_chardev_send_break(CommandContext& context,
                                    const ChardevSendBreakArguments& arguments) {
    const Chardev* chardev = context.chardevs().find(arguments.id);
    if (chardev == nullptr) {
        return Error("Chardev '" + arguments.id + "' not found");
    }
    if (ConsoleSlot* slot = context.chardevs().find_slot(*chardev)) {
        slot->send_break();
    }
    return {};
}

Result<void> qmp_ringbuf_write(CommandContext& context, const RingbufWriteArguments& arguments) {
    RingbufChardev* ringbuf = TRY(find_ringbuf(context, arguments.device));
    std::string bytes = arguments.data;
    if (arguments.format == DataFormat::kBase64) {
        std::optional<std::string> decoded = decode_base64(arguments.data);
        if (!decoded) {
            return Error("Base64 data contains invalid characters");
        }
        bytes = *std::move(decoded);
    }
    static_cast<void>(ringbuf->write(std::as_bytes(std::span(bytes))));
    return {};
}

Result<std::string> qmp_ringbuf_read(CommandContext& context,
                                     const RingbufReadArguments& arguments) {
    RingbufChardev* ringbuf = TRY(find_ringbuf(context, arguments.device));
    if (arguments.size <= 0) {
        return Error("size must be greater than zero");
    }
    const std::string bytes = ringbuf->read(static_cast<size_t>(arguments.size));
    return arguments.format == DataFormat::kBase64 ? encode_base64(bytes) : bytes;
}

}  // namespace halcyon::qmp
