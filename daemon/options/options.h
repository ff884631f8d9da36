/// Options: everything the command line says.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "accel/accelerator.h"
#include "base/result.h"
#include "machine/machine_config.h"

namespace halcyon {

/// What is logged: messages of this weight and above.
enum class LogLevel { kDebug, kInfo, kWarning, kError, kOff };

/// -sandbox: what becomes of a system call that a thread has no business with.
enum class SandboxMode {
    kOn,   ///< it fails
    kLog,  ///< the kernel's audit log has it
    kOff,  ///< nothing
};

/// -machined: whether the VM is registered with systemd-machined.
enum class MachinedMode {
    kAuto,  ///< as a service with a name, where machined is there and lets it
    kOn,    ///< without it there is no start
    kOff,
};

/// -chardev null
struct NullChardevOptions {};

/// The host and port of a TCP socket.
struct InetOptions {
    /// A name or an address; empty for a server at all of its host's addresses.
    std::string host = {};
    uint16_t port = 0;
    /// A server tries the ports up to this one.
    std::optional<uint16_t> last_port = {};
    /// Only addresses of one family are used, if just one of these is true.
    bool ipv4 = false;
    bool ipv6 = false;
    /// Small messages are not delayed (TCP_NODELAY): a reply is one write, and its reader waits.
    bool nodelay = true;
    /// The host is an address, which is not looked up.
    bool numeric = false;
    /// An idle connection is probed (SO_KEEPALIVE).
    bool keep_alive = false;
};

/// -chardev socket: a Unix socket, or a TCP socket with `inet`. An inherited descriptor replaces
/// both.
struct SocketChardevOptions {
    std::string path = {};
    /// In the abstract name space; without `tight` the name is padded with zeroes to its full
    /// length, as QEMU's older versions did.
    bool abstract = false;
    bool tight = true;
    /// A descriptor inherited from the parent: a listening socket (server) or a connected one; -1
    /// for none.
    int fd = -1;
    bool server = false;
    /// A server's start-up waits for its first client.
    bool wait = false;
    std::optional<InetOptions> inet = {};
    /// Clients speak WebSocket (RFC 6455); servers only.
    bool websocket = false;
    /// A client tries again this long after its connection was lost or refused; 0 for never.
    std::chrono::milliseconds reconnect{0};
};

/// Whether the options go together; the Error names those that do not.
[[nodiscard]] Result<void> check_socket(const SocketChardevOptions& socket);

/// The largest -chardev ringbuf: more than anybody reads back.
inline constexpr uint64_t kMaxRingbuf = 64 * 1024 * 1024;

/// -chardev ringbuf: keeps the last `size` bytes of output, a power of two.
struct RingbufChardevOptions {
    uint32_t size = 65536;
};

/// -chardev stdio
struct StdioChardevOptions {
    /// The terminal's interrupt and quit characters make signals.
    bool signals = true;
};

/// -chardev file: output only.
struct FileChardevOptions {
    std::string path = {};
    bool append = false;
    /// A descriptor to use in place of the path; -1 for none. Whoever makes the back end owns it.
    int fd = -1;
};

/// -chardev pty
struct PtyChardevOptions {};

struct ChardevOptions {
    std::string id;
    /// The option it came from, for errors: "-serial stdio".
    std::string origin;
    std::variant<NullChardevOptions, SocketChardevOptions, StdioChardevOptions, FileChardevOptions,
                 PtyChardevOptions, RingbufChardevOptions>
        kind;
    /// What output goes to as well.
    std::optional<FileChardevOptions> log = {};
};

/// A QMP monitor (-mon mode=control, -qmp).
struct MonitorOptions {
    std::string chardev_id;
    bool pretty = false;
};

struct Options {
    /// Complete but for the character back ends, which are named by `serial` and `debugcon`.
    MachineConfig machine;
    std::vector<ChardevOptions> chardevs;
    std::vector<MonitorOptions> monitors;
    /// -serial in order: the back end's id, or nothing for a port left out.
    std::vector<std::optional<std::string>> serial;
    std::optional<std::string> debugcon;
    /// -pidfile and -D; empty without.
    std::string pidfile;
    std::string log_file;
    /// -d; nothing for the default: info in the journal, warnings elsewhere.
    std::optional<LogLevel> log_level;
    /// -sandbox; nothing for the default: on, where the build has it and no sanitizer.
    std::optional<SandboxMode> sandbox;
    MachinedMode machined = MachinedMode::kAuto;
    /// -name process=; empty without.
    std::string process_name;
    bool daemonize = false;
    /// -action internal-error=exit-failure: the run state internal-error ends the machine.
    bool end_on_internal_error = false;
    /// -help, -version and the like: print this, exit 0, do nothing else.
    std::optional<std::string> information;
};

/// A socket that the process was started with, and the name it was given (systemd's LISTEN_FDS and
/// LISTEN_FDNAMES).
struct PassedSocket {
    int fd = -1;
    std::string name;
};

/// The name of a listening socket that is a QMP monitor's; others have no meaning of their own.
inline constexpr const char* kQmpSocketName = "qmp";

/// The firmware without -bios: where Debian's package seabios puts it.
inline constexpr const char* kDefaultFirmware = "/usr/share/seabios/bios.bin";

/// Reads the arguments (without the program's name) and the files of -options-file. `built_in` are
/// the accelerators that `-accel` can name, in their default order. Creates nothing and opens
/// nothing else. The Error is one line: the option as given, for one of a file after file and line,
/// what is wrong with it, and what it takes.
///
/// Each socket of `passed` that is called "qmp" is one more monitor, as if by
/// "-qmp fd=N,server=on,wait=off", unless an option's fd= uses it; others must be used so.
[[nodiscard]] Result<Options> parse_command_line(std::span<const char* const> arguments,
                                                 std::span<const Accelerator* const> built_in,
                                                 std::span<const PassedSocket> passed = {});

}  // namespace halcyon
