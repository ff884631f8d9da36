/// CtlStatus: what halcyonctl's exit status says to scripts.
#pragma once

#include <string>
#include <utility>

#include "base/result.h"

namespace halcyon {

/// halcyonctl(1) has the table for users.
enum class CtlStatus {
    kSuccess = 0,
    kServerError = 1,   ///< the server answered with an error
    kUsage = 2,         ///< the command line, or an argument that the server's schema does not have
    kNoConnection = 3,  ///< nobody listens, it is not QMP, or it closed; input or output failed
    kTimeout = 4,       ///< what was waited for did not come in time
};

/// The errors of this program, each with the code that `status_of` turns into its exit status.
[[nodiscard]] inline Error server_error(std::string message) {
    return Error(std::move(message), ErrorCode::kGeneric);
}
[[nodiscard]] inline Error usage_error(std::string message) {
    return Error(std::move(message), ErrorCode::kInvalidArgument);
}
[[nodiscard]] inline Error connection_error(std::string message) {
    return Error(std::move(message), ErrorCode::kNotFound);
}
[[nodiscard]] inline Error timeout_error(std::string message) {
    return Error(std::move(message), ErrorCode::kNotActive);
}

/// The one place where an exit status is chosen.
[[nodiscard]] inline CtlStatus status_of(const Error& error) {
    switch (error.code()) {
        case ErrorCode::kGeneric:
            return CtlStatus::kServerError;
        case ErrorCode::kInvalidArgument:
            return CtlStatus::kUsage;
        case ErrorCode::kNotActive:
            return CtlStatus::kTimeout;
        case ErrorCode::kNotFound:
        case ErrorCode::kUnsupported:
        case ErrorCode::kSystem:
            return CtlStatus::kNoConnection;
    }
    return CtlStatus::kNoConnection;
}

}  // namespace halcyon
