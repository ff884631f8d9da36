/// What the fuzz targets share.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace halcyon::fuzz {

/// Ends the process, which libFuzzer reports with the input, unless `holds`.
inline void check(bool holds, const char* what) {
    if (!holds) {
        std::fprintf(stderr, "does not hold: %s\n", what);
        std::abort();
    }
}

}  // namespace halcyon::fuzz
