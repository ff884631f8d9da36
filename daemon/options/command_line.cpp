#include "daemon/options/option_table.h"
#include "daemon/options/options_file.h"

namespace halcyon {
namespace {

/// Errors are one line, whatever bytes the argument has.
std::string printable(std::string_view text) {
    std::string result;
    for (const char character : text) {
        const auto byte = static_cast<unsigned char>(character);
        result += byte < 0x20 || byte == 0x7f ? '?' : character;
    }
    return result;
}

Error invalid(const std::string& message) {
    return Error(printable(message), ErrorCode::kInvalidArgument);
}

/// The option that "-NAME" or "--NAME" means. The Error begins with `place`.
Result<const OptionSpec*> find_option(const std::string& given, const std::string& place = {}) {
    if (given.size() < 2 || given[0] != '-') {
        return invalid(place + "'" + given + "': not an option; they begin with '-', see -help");
    }
    const std::string_view name = std::string_view(given).substr(given[1] == '-' ? 2 : 1);
    for (const OptionSpec& spec : option_table()) {
        if (spec.name == name || (!spec.alias.empty() && spec.alias == name)) {
            return &spec;
        }
    }
    return invalid(place + given + ": unknown option, see -help");
}

std::string describe_usage(const OptionSpec& spec) {
    return "-" + std::string(spec.name) + " takes " + std::string(spec.argument);
}

Result<void> apply_option(OptionParser& parser, const OptionSpec& spec, const std::string& given,
                          const std::string& argument) {
    parser.origin = parser.place + given + (spec.argument.empty() ? "" : " " + argument);
    Result<void> applied = spec.apply(parser, argument);
    // The options of a file have their own place in the error.
    if (applied || spec.apply == apply_options_file) {
        return applied;
    }
    std::string message = parser.origin + ": " + applied.error().message();
    if (!spec.argument.empty()) {
        message += " (" + describe_usage(spec) + ")";
    }
    return invalid(message);
}

/// One line of a file of options; `parser.place` says which.
Result<void> apply_line(OptionParser& parser, const OptionLine& line) {
    const OptionSpec* spec = TRY(find_option(line.option, parser.place));
    if (spec->argument.empty() != line.argument.empty()) {
        return invalid(parser.place + line.option +
                       (spec->argument.empty()
                            ? ": takes no argument"
                            : ": its argument is missing (" + describe_usage(*spec) + ")"));
    }
    return apply_option(parser, *spec, line.option, line.argument);
}

/// What needs all options.
Result<void> finish(OptionParser& parser) {
    if (!parser.accel_origin.empty() && !parser.machine_accel_origin.empty()) {
        return invalid(parser.machine_accel_origin + ": names an accelerator, and so does " +
                       parser.accel_origin);
    }
    MachineConfig& machine = parser.options.machine;
    if (machine.accelerators.empty()) {
        machine.accelerators.assign(parser.built_in.begin(), parser.built_in.end());
    }
    Result<void> chardevs = add_passed_sockets(parser);
    if (chardevs) {
        chardevs = finish_chardevs(parser);
    }
    return chardevs ? Result<void>() : invalid(chardevs.error().message());
}

}  // namespace

Result<void> apply_options_file(OptionParser& parser, const std::string& argument) {
    if (!parser.place.empty()) {
        return invalid(parser.origin + ": a file of options cannot name another");
    }
    const Result<std::vector<OptionLine>> lines = read_options_file(argument);
    if (!lines) {
        return invalid(parser.origin + ": " + lines.error().message());
    }
    for (const OptionLine& line : *lines) {
        parser.place = argument + ":" + std::to_string(line.number) + ": ";
        TRY(apply_line(parser, line));
        if (parser.options.information) {
            break;
        }
    }
    parser.place.clear();
    return {};
}

Result<Options> parse_command_line(std::span<const char* const> arguments,
                                   std::span<const Accelerator* const> built_in,
                                   std::span<const PassedSocket> passed) {
    OptionParser parser;
    parser.passed_sockets = passed;
    parser.built_in = built_in;
    parser.options.machine.firmware_path = kDefaultFirmware;
    for (size_t index = 0; index < arguments.size(); ++index) {
        const std::string given = arguments[index];
        const OptionSpec* spec = TRY(find_option(given));
        std::string argument;
        if (!spec->argument.empty()) {
            if (++index == arguments.size()) {
                return invalid(given + ": its argument is missing (" + describe_usage(*spec) + ")");
            }
            argument = arguments[index];
        }
        TRY(apply_option(parser, *spec, given, argument));
        if (parser.options.information) {
            return std::move(parser.options);
        }
    }
    TRY(finish(parser));
    return std::move(parser.options);
}

}  // namespace halcyon
