#include "ctl/shell_words.h"

#include "ctl/exit_status.h"

namespace halcyon {

Result<std::vector<std::string>> split_shell_words(std::string_view line) {
    std::vector<std::string> words;
    bool in_word = false;
    char quote = '\0';
    for (size_t i = 0; i < line.size(); ++i) {
        char letter = line[i];
        if (quote == '\0' && (letter == ' ' || letter == '\t')) {
            in_word = false;
            continue;
        }
        if (!in_word) {
            words.emplace_back();
            in_word = true;
        }
        if (quote == '\0' && (letter == '\'' || letter == '"')) {
            quote = letter;
            continue;
        }
        if (quote != '\0' && letter == quote) {
            quote = '\0';
            continue;
        }
        if (letter == '\\' && quote != '\'') {
            if (++i == line.size()) {
                return usage_error("a backslash ends the line");
            }
            letter = line[i];
        }
        words.back() += letter;
    }
    if (quote != '\0') {
        return usage_error(std::string("the quote ") + quote + " is not closed");
    }
    return words;
}

}  // namespace halcyon
