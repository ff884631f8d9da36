/// The versions that the daemon reports.
#pragma once

#include <string_view>

namespace halcyon {

/// Halcyon's own version, from meson.build.
inline constexpr std::string_view kVersion = HALCYON_VERSION;

struct QapiVersion {
    int major;
    int minor;
    int micro;
};

/// The QEMU release whose QMP we speak: what the greeting and query-version say. Orchestrators
/// (libvirt among them) refuse less than 7.2 nowadays.
inline constexpr QapiVersion kQapiVersion{7, 2, 0};

}  // namespace halcyon
