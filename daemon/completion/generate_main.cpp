// Prints the shell completion: a template, with what the table of options says put into it.

#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>

#include "daemon/completion/option_words.h"

namespace {

void replace(std::string& text, const std::string& marker, const std::string& replacement) {
    const size_t at = text.find(marker);
    if (at != std::string::npos) {
        text.replace(at, marker.size(), replacement);
    }
}

}  // namespace

int main(int argc, char** argv) {
    std::ifstream file(argc == 2 ? argv[1] : "");
    if (!file) {
        std::fprintf(stderr, "usage: halcyond-completion TEMPLATE\n");
        return 2;
    }
    std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    replace(text, "@ARGUMENTS@\n", halcyon::completion_arguments());
    replace(text, "@NAMES@", halcyon::completion_names());
    std::fputs(text.c_str(), stdout);
    return std::fflush(stdout) == 0 ? 0 : 1;
}
