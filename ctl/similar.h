/// Guesses at what was meant.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace halcyon {

/// How many letters must be changed, added or removed to make `b` of `a` (Levenshtein).
[[nodiscard]] inline size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<size_t> row(b.size() + 1);
    for (size_t j = 0; j <= b.size(); ++j) {
        row[j] = j;
    }
    for (size_t i = 0; i < a.size(); ++i) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < b.size(); ++j) {
            const size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
            diagonal = row[j + 1];
            row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
        }
    }
    return row[b.size()];
}

/// "; did you mean 'X'?" for the nearest of `known`, if one is near; else nothing.
[[nodiscard]] inline std::string did_you_mean(std::string_view given,
                                              const std::vector<std::string>& known) {
    if (given.size() > 64) {
        return {};
    }
    const std::string* best = nullptr;
    size_t best_distance = std::min(std::max<size_t>(given.size() / 3, 2) + 1, given.size());
    for (const std::string& name : known) {
        const size_t distance = edit_distance(given, name);
        if (distance < best_distance) {
            best_distance = distance;
            best = &name;
        }
    }
    return best == nullptr ? std::string() : "; did you mean '" + *best + "'?";
}

}  // namespace halcyon
