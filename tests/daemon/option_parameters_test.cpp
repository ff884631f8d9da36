#include "daemon/options/option_parameters.h"

#include <algorithm>
#include <array>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "daemon/options/option_table.h"

namespace halcyon {
namespace {

const OptionSpec* find_spec(std::string_view name) {
    const auto table = option_table();
    const auto found = std::ranges::find(table, name, &OptionSpec::name);
    return found == table.end() ? nullptr : &*found;
}

/// Whether `argument` of `option` is refused because it does not know a key.
bool is_unknown(std::string_view option, const std::string& argument) {
    const std::string dashed = "-" + std::string(option);
    const std::array<const char*, 2> arguments = {dashed.c_str(), argument.c_str()};
    const Result<Options> parsed = parse_command_line(arguments, accelerators());
    return !parsed && parsed.error().message().find("unknown parameter") != std::string::npos;
}

TEST(OptionParameters, AreOfOptionsThatExist) {
    for (const OptionGroup& group : option_groups()) {
        EXPECT_NE(find_spec(group.option), nullptr) << group.name;
    }
    EXPECT_TRUE(std::ranges::is_sorted(option_groups(), {}, &OptionGroup::name));
}

TEST(OptionParameters, AreTaken) {
    EXPECT_TRUE(is_unknown("smp", "4,colour=1"));
    for (const OptionGroup& group : option_groups()) {
        // Which keys a character device has depends on its kind.
        std::vector<std::string> heads = {""};
        if (group.name == "chardev") {
            heads = {"socket,id=x,", "file,id=x,", "stdio,id=x,", "ringbuf,id=x,"};
        }
        for (const OptionParameter& parameter : group.parameters) {
            const std::string item = std::string(parameter.name) + "=?";
            EXPECT_FALSE(std::ranges::all_of(
                heads,
                [&](const std::string& head) { return is_unknown(group.option, head + item); }))
                << group.name << ": " << parameter.name;
        }
    }
}

TEST(OptionParameters, AreAllThatTheHelpNames) {
    const std::regex key("[\\[,]([a-z][a-z0-9-]*)\\]?=");
    for (const OptionGroup& group : option_groups()) {
        const OptionSpec& spec = *find_spec(group.option);
        const std::string text = std::string(spec.argument) + "," + std::string(spec.help);
        for (std::sregex_iterator at(text.begin(), text.end(), key), end; at != end; ++at) {
            const std::string name = (*at)[1];
            EXPECT_NE(std::ranges::find(group.parameters, name, &OptionParameter::name),
                      group.parameters.end())
                << group.name << " lacks " << name;
        }
    }
}

}  // namespace
}  // namespace halcyon
