// Runs a fuzz target's function on every file of the directories named, without libFuzzer: the kept
// inputs are tests of any build, those with g++ and its sanitizers too. A fault ends the process;
// the last name printed is its input.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

std::vector<uint8_t> content(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace

int main(int argc, char** argv) {
    std::vector<std::filesystem::path> inputs;
    for (int index = 1; index < argc; ++index) {
        for (const auto& entry : std::filesystem::directory_iterator(argv[index])) {
            inputs.push_back(entry.path());
        }
    }
    std::ranges::sort(inputs);
    if (inputs.empty()) {
        std::fprintf(stderr, "no inputs: name directories of them\n");
        return 2;
    }
    for (const std::filesystem::path& input : inputs) {
        std::printf("%s\n", input.c_str());
        std::fflush(stdout);
        const std::vector<uint8_t> data = content(input);
        // An empty vector's data may be null, which is no range for memory functions.
        static const uint8_t kNothing = 0;
        LLVMFuzzerTestOneInput(data.empty() ? &kNothing : data.data(), data.size());
    }
    std::printf("%zu inputs\n", inputs.size());
    return 0;
}
