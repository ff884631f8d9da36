#include "ctl/ctl_options.h"

#include <getopt.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "ctl/exit_status.h"

namespace halcyon {
namespace {

constexpr const char* kHelp = R"(usage: halcyonctl [OPTION..] NAME COMMAND [KEY=VALUE..]
       halcyonctl [OPTION..] -s SOCKET COMMAND [KEY=VALUE..]

Asks the virtual machine NAME (the service halcyon@NAME), or whoever serves QMP
at SOCKET.

Commands:
  status         the run state, in a word
  info           the machine: name, run state, vCPUs, memory, accelerator
  stop, cont     pause the guest, let it run
  reset          reset the machine
  powerdown      press the power button
  quit           end the machine at once
  events         print events as they come
  shell          read commands, with completion and history
  stop-service   power button, time for the guest, then quit: for ExecStop=
  COMMAND        any command of QMP; its arguments as KEY=VALUE, A.B=VALUE or JSON

Options:
  -s, --socket SOCKET     the monitor's Unix socket; '@' begins an abstract one
  -j, --json              print JSON, a value on a line
  -w, --wait EVENT        after the command, wait for this event
  -t, --timeout SECONDS   wait no longer, for anything
  -g, --grace SECONDS     stop-service: how long the guest has (default 90)
  -l, --list-commands     print the commands that there are
      --complete          print what the last word can become
  -h, --help, -V, --version

Exit status: 0 done, 1 the server answered with an error, 2 wrong usage, 3 no
connection, 4 not in time.
)";

constexpr std::array<std::string_view, 10> kOwnCommands = {
    "cont",  "events", "info",   "powerdown", "quit",
    "reset", "shell",  "status", "stop",      "stop-service"};

enum LongOption { kComplete = 256 };

constexpr std::array<option, 10> kLongOptions = {{
    {"socket", required_argument, nullptr, 's'},
    {"json", no_argument, nullptr, 'j'},
    {"wait", required_argument, nullptr, 'w'},
    {"timeout", required_argument, nullptr, 't'},
    {"grace", required_argument, nullptr, 'g'},
    {"list-commands", no_argument, nullptr, 'l'},
    {"complete", no_argument, nullptr, kComplete},
    {"help", no_argument, nullptr, 'h'},
    {"version", no_argument, nullptr, 'V'},
    {nullptr, 0, nullptr, 0},
}};

std::string environment(const char* name) {
    const char* value = ::getenv(name);
    return value == nullptr ? std::string() : std::string(value);
}

/// Whether the program stays connected, and so keeps other clients of the monitor waiting.
bool stays(const CtlOptions& options) {
    return options.command == "events" || options.command == "shell" || !options.wait_event.empty();
}

/// Who stays takes the monitor that is everybody's; the other one is never busy for long.
Result<void> find_socket(CtlOptions& options) {
    const std::string& name = options.name;
    if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos) {
        return usage_error("'" + name + "' cannot be a machine's name; -s SOCKET takes a path");
    }
    const std::string given = environment("HALCYON_RUNTIME_DIR");
    const std::string directory = given.empty() ? "/run" : given;
    const std::string own = directory + "/halcyonctl/" + name + ".sock";
    const std::string files = directory + "/halcyon/" + name;
    const bool unit = ::access(own.c_str(), F_OK) == 0;
    options.socket = unit && !stays(options) ? own : files + ".sock";
    options.off = unit && ::access(files.c_str(), F_OK) != 0 && errno == ENOENT;
    return {};
}

Result<void> take_option(CtlOptions& options, int letter, const char* argument) {
    switch (letter) {
        case 's':
            if (*argument == '\0') {
                return usage_error("'' cannot be a socket's path");
            }
            options.socket = argument;
            break;
        case 'j':
            options.json = true;
            break;
        case 'w':
            options.wait_event = argument;
            break;
        case 't':
            options.timeout = TRY(parse_seconds(argument));
            break;
        case 'g':
            options.grace = TRY(parse_seconds(argument));
            break;
        case 'l':
            options.list_commands = true;
            break;
        case kComplete:
            options.complete = true;
            break;
        case 'h':
            options.information = kHelp;
            break;
        case 'V':
            options.information = "halcyonctl " HALCYON_VERSION "\n";
            break;
        default:
            return usage_error("the option is not understood");
    }
    return {};
}

/// What is wrong with the option that getopt stopped at: `optopt` is 0 for an unknown long one.
Error option_fault(char** argv, int letter) {
    const std::string word = argv[optind - 1];
    if (optopt == 0) {
        return usage_error("there is no option " + word);
    }
    const std::string name(1, static_cast<char>(optopt));
    if (letter == ':') {
        return usage_error("-" + name + " needs a value");
    }
    return word.starts_with("--") && word.find('=') != std::string::npos
               ? usage_error(word.substr(0, word.find('=')) + " takes no value")
               : usage_error("there is no option -" + name);
}

Result<void> take_words(CtlOptions& options, std::span<char*> words) {
    const bool named = options.socket.empty();
    if (named && words.empty()) {
        return usage_error("which machine? NAME, or -s SOCKET");
    }
    if (named) {
        options.name = words.front();
        words = words.subspan(1);
    }
    if (options.complete) {
        options.words.assign(words.begin(), words.end());
    } else if (!words.empty()) {
        options.command = words.front();
        options.words.assign(words.begin() + 1, words.end());
    } else if (options.wait_event.empty() && !options.list_commands) {
        return usage_error("which command? --help lists them");
    }
    if (named) {
        TRY(find_socket(options));
    }
    return {};
}

}  // namespace

std::span<const std::string_view> own_commands() {
    return kOwnCommands;
}

Result<std::chrono::milliseconds> parse_seconds(std::string_view text) {
    constexpr double kMost = 2'000'000;
    double seconds = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
    if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(seconds) ||
        seconds < 0 || seconds > kMost) {
        return usage_error("'" + std::string(text) + "' is no time in seconds, 0 to 2000000");
    }
    return std::chrono::milliseconds(static_cast<int64_t>(std::ceil(seconds * 1000)));
}

Result<CtlOptions> parse_ctl_options(int argc, char** argv) {
    CtlOptions options;
    if (const std::string grace = environment("HALCYON_STOP_TIMEOUT"); !grace.empty()) {
        Result<std::chrono::milliseconds> time = parse_seconds(grace);
        if (!time) {
            return std::move(time).error().with_context("HALCYON_STOP_TIMEOUT");
        }
        options.grace = *time;
    }
    opterr = 0;
    while (true) {
        const int letter = ::getopt_long(argc, argv, ":s:jw:t:g:lhV", kLongOptions.data(), nullptr);
        if (letter == -1) {
            break;
        }
        if (letter == '?' || letter == ':') {
            return option_fault(argv, letter);
        }
        TRY(take_option(options, letter, optarg));
    }
    if (options.information) {
        return options;
    }
    TRY(take_words(options, std::span(argv + optind, static_cast<size_t>(argc - optind))));
    return options;
}

}  // namespace halcyon
