/// Percentiles and times for the bench tools.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <vector>

namespace halcyon::bench {

using Clock = std::chrono::steady_clock;

[[nodiscard]] inline double microseconds_since(Clock::time_point start) {
    return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

/// The value below which `fraction` (0 to 1) of the samples lie, by nearest rank; 0 without
/// samples. Sorts them.
[[nodiscard]] inline double percentile(std::vector<double>& samples, double fraction) {
    if (samples.empty()) {
        return 0;
    }
    std::sort(samples.begin(), samples.end());
    const auto rank = static_cast<size_t>(fraction * static_cast<double>(samples.size()));
    return samples[std::min(rank, samples.size() - 1)];
}

}  // namespace halcyon::bench
