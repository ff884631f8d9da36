#include "daemon/completion/option_words.h"

#include <algorithm>
#include <cctype>
#include <string_view>
#include <vector>

#include "accel/accelerator.h"
#include "daemon/options/option_parameters.h"
#include "daemon/options/option_table.h"

namespace halcyon {
namespace {

/// The alternatives of a usage text: what '|' separates outside of brackets.
std::vector<std::string_view> alternatives(std::string_view usage) {
    std::vector<std::string_view> parts;
    size_t begin = 0;
    int depth = 0;
    for (size_t at = 0; at < usage.size(); ++at) {
        depth += usage[at] == '[' ? 1 : usage[at] == ']' ? -1 : 0;
        if (usage[at] == '|' && depth == 0) {
            parts.push_back(usage.substr(begin, at - begin));
            begin = at + 1;
        }
    }
    parts.push_back(usage.substr(begin));
    return parts;
}

/// What can be typed as it stands at the beginning of an alternative, behind an optional key: "pc"
/// of "[type=]pc", "unix:" of "unix:PATH". Empty where a value begins: NAME, or xxxxxxxx-xxxx.
std::string_view literal(std::string_view alternative) {
    if (alternative.starts_with('[')) {
        alternative.remove_prefix(std::min(alternative.find(']'), alternative.size() - 1) + 1);
    }
    const auto end = std::ranges::find_if(alternative, [](unsigned char byte) {
        return std::islower(byte) == 0 && std::isdigit(byte) == 0 && byte != '-';
    });
    std::string_view word = alternative.substr(0, static_cast<size_t>(end - alternative.begin()));
    if (word.find_first_not_of("x-") == std::string_view::npos) {
        return {};
    }
    return alternative.substr(word.size()).starts_with(':') ? alternative.substr(0, word.size() + 1)
                                                            : word;
}

void append_word(std::string& list, std::string_view word) {
    if (!word.empty()) {
        list += (list.empty() ? "" : " ") + std::string(word);
    }
}

std::string words_of(const OptionSpec& spec) {
    std::string words;
    for (const std::string_view alternative : alternatives(spec.argument)) {
        append_word(words, literal(alternative));
    }
    if (spec.name == "accel") {
        for (const Accelerator* accelerator : accelerators()) {
            append_word(words, accelerator->name());
        }
    }
    return words;
}

std::string branch(const OptionSpec& spec) {
    std::string keys;
    std::string switches;
    for (const OptionGroup& group : option_groups()) {
        if (group.option != spec.name) {
            continue;
        }
        for (const OptionParameter& parameter : group.parameters) {
            append_word(keys, parameter.name);
            append_word(switches,
                        parameter.kind == OptionParameter::Kind::kBoolean ? parameter.name : "");
        }
    }
    std::string text = "        " + std::string(spec.name);
    if (!spec.alias.empty()) {
        text += " | " + std::string(spec.alias);
    }
    text += ") words='" + words_of(spec) + "'";
    for (const auto& [name, value] :
         {std::pair("keys", keys), std::pair("switches", switches),
          std::pair("files", std::string(spec.argument == "FILE" ? "yes" : ""))}) {
        if (!value.empty()) {
            text += std::string(" ") + name + "='" + value + "'";
        }
    }
    return text + " ;;\n";
}

}  // namespace

std::string completion_names() {
    std::string names;
    for (const OptionSpec& spec : option_table()) {
        append_word(names, spec.name);
        append_word(names, spec.alias);
    }
    return names;
}

std::string completion_arguments() {
    std::string text;
    for (const OptionSpec& spec : option_table()) {
        if (!spec.argument.empty()) {
            text += branch(spec);
        }
    }
    return text;
}

}  // namespace halcyon
