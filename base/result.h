/// Result<T>: a value, or an Error that is only ever forwarded.
///
/// Two kinds of failure exist in Halcyon. A fatal or unexpected one is an `Error`: it is passed up
/// with TRY and logged or answered once, at the top; nobody in between compares its fields. An
/// outcome that the caller must act on ("the port is unclaimed", "the vCPU was kicked") is part of
/// the value.
#pragma once

#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

namespace halcyon {

/// What kind of failure it is, for the one place (daemon/) that chooses a QMP error class or an
/// exit code. Code between the origin and that place forwards it unread.
enum class ErrorCode {
    kGeneric,          ///< anything without a class of its own
    kInvalidArgument,  ///< the caller, a client or the command line gave something unusable
    kNotFound,         ///< the named thing does not exist
    kNotActive,        ///< it exists, but is not in a state to be used
    kUnsupported,      ///< this host or backend cannot do it
    kSystem,           ///< a system call failed; `errno_value` says how
};

/// One failure: what was wrong, and for system calls the errno. Cheap to move, never empty.
class Error {
public:
    explicit Error(std::string message, ErrorCode code = ErrorCode::kGeneric)
        : message_(std::move(message)), code_(code) {}

    /// A failed system call: "MESSAGE: strerror(errno_value)".
    [[nodiscard]] static Error from_errno(std::string message, int errno_value = errno) {
        Error error(std::move(message) + ": " + describe_errno(errno_value), ErrorCode::kSystem);
        error.errno_value_ = errno_value;
        return error;
    }

    /// The same error with "PREFIX: " in front; for a layer that knows what was being attempted.
    [[nodiscard]] Error with_context(const std::string& prefix) && {
        message_ = prefix + ": " + message_;
        return std::move(*this);
    }

    [[nodiscard]] const std::string& message() const { return message_; }
    [[nodiscard]] ErrorCode code() const { return code_; }
    /// 0 when no system call was involved.
    [[nodiscard]] int errno_value() const { return errno_value_; }

private:
    static std::string describe_errno(int errno_value) {
        char buffer[128];
        // The GNU form: thread safe, and may return a string of its own instead of filling the
        // buffer.
        return ::strerror_r(errno_value, buffer, sizeof(buffer));
    }

    std::string message_;
    ErrorCode code_;
    int errno_value_ = 0;
};

/// A T or an Error, with the member names of std::expected (which g++ 12 has only in C++23).
template <typename T>
class [[nodiscard]] Result {
    static_assert(!std::is_reference_v<T>, "return a pointer instead");

public:
    using value_type = T;

    // NOLINTNEXTLINE(google-explicit-constructor)
    Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
    // NOLINTNEXTLINE(google-explicit-constructor)
    Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

    [[nodiscard]] bool has_value() const { return state_.index() == 0; }
    explicit operator bool() const { return has_value(); }

    [[nodiscard]] T& value() & { return std::get<0>(state_); }
    [[nodiscard]] const T& value() const& { return std::get<0>(state_); }
    [[nodiscard]] T&& value() && { return std::get<0>(std::move(state_)); }
    [[nodiscard]] T& operator*() & { return value(); }
    [[nodiscard]] const T& operator*() const& { return value(); }
    [[nodiscard]] T&& operator*() && { return std::move(*this).value(); }
    [[nodiscard]] T* operator->() { return &value(); }
    [[nodiscard]] const T* operator->() const { return &value(); }

    [[nodiscard]] Error& error() & { return std::get<1>(state_); }
    [[nodiscard]] const Error& error() const& { return std::get<1>(state_); }
    [[nodiscard]] Error&& error() && { return std::get<1>(std::move(state_)); }

private:
    std::variant<T, Error> state_;
};

/// Success, or an Error.
template <>
class [[nodiscard]] Result<void> {
public:
    using value_type = void;

    Result() = default;
    Result(Error error) : error_(std::move(error)) {}  // NOLINT(google-explicit-constructor)

    [[nodiscard]] bool has_value() const { return !error_.has_value(); }
    explicit operator bool() const { return has_value(); }
    void value() const {}

    [[nodiscard]] Error& error() & { return *error_; }
    [[nodiscard]] const Error& error() const& { return *error_; }
    [[nodiscard]] Error&& error() && { return *std::move(error_); }

private:
    std::optional<Error> error_;
};

}  // namespace halcyon

/// Evaluates to the value of a Result, or returns its Error from the enclosing function.
/// A statement expression, so that it can stand inside a larger expression.
#define TRY(expression)                                   \
    __extension__({                                       \
        auto&& halcyon_try_result = (expression);         \
        if (!halcyon_try_result) {                        \
            return std::move(halcyon_try_result).error(); \
        }                                                 \
        std::move(halcyon_try_result).value();            \
    })
