/// The versions that the daemon reports.
#pragma once

#include <string>
#include <string_view>

namespace halcyon {

/// Halcyon's own version, from meson.build.
inline constexpr std::string_view kVersion = HALCYON_VERSION;

/// What the greeting and query-version call the server itself.
[[nodiscard]] inline std::string package_version() {
    return "halcyon-" + std::string(kVersion);
}

struct QapiVersion {
    int major;
    int minor;
    int micro;
};

/// The QEMU release whose QMP we speak: what the greeting and query-version say. Orchestrators
/// (libvirt among them) refuse less than 7.2 nowadays.
inline constexpr QapiVersion kQapiVersion{7, 2, 0};

}  // namespace halcyon
