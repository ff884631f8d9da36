/// Reading a firmware image.
#pragma once

#include <string>

#include "base/mapping.h"
#include "base/result.h"

namespace halcyon {

/// The largest image: what fits below 4 GiB without touching the APICs' pages (QEMU's max-fw-size).
inline constexpr uint64_t kMaxFirmwareSize = 8 * 1024 * 1024;

/// The whole image in memory of its own, so that a file changed later changes no guest. Fails with
/// the option's name, the path and what would be right, when the file cannot be read, is empty, no
/// multiple of 64 KiB, or too large.
Result<Mapping> load_firmware(const std::string& path);

}  // namespace halcyon
