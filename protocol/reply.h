/// The answer to a request: error classes, and the sink through which a command answers, at once or
/// later.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

#include "base/result.h"
#include "protocol/json.h"

namespace halcyon {

/// The error classes of QMP. There are no others, and clients match on them.
enum class ErrorClass {
    kGenericError,
    kCommandNotFound,
    kDeviceNotActive,
    kDeviceNotFound,
    kKvmMissingCap,
};

/// The class as it is written on the wire ("GenericError").
[[nodiscard]] std::string_view to_string(ErrorClass error_class);

/// A set of error classes: bit N stands for the enumerator of value N.
using ErrorClassSet = unsigned;

/// The set with one member.
[[nodiscard]] constexpr ErrorClassSet error_class_bit(ErrorClass error_class) {
    return 1U << static_cast<unsigned>(error_class);
}

/// An error as a client sees it.
struct QmpError {
    ErrorClass error_class = ErrorClass::kGenericError;
    /// The `desc` member: a sentence for a human. Some clients match on these words.
    std::string description;
};

/// The one place where an Error gets its QMP class: `ErrorCode::kNotFound` is DeviceNotFound and
/// `kNotActive` is DeviceNotActive for a command whose schema entry lists that class in `errors`
/// (`listed`); everything else is GenericError. The message becomes the description unchanged.
[[nodiscard]] QmpError to_qmp_error(const Error& error, ErrorClassSet listed);

/// A result that is already text on the wire (one line, ASCII, valid JSON): for large constant
/// answers. What `text` points to must live for ever.
struct WireText {
    std::string_view text;
};

/// What a command answers.
using ReplyValue = std::variant<Json, WireText, QmpError>;

/// Answers one request, exactly once.
///
/// Move-only. A command that cannot answer yet keeps the sink and calls it later, on the main
/// thread. The client may have gone by then: the answer then goes nowhere, which is safe even after
/// the Session was destroyed. A sink that is destroyed without an answer answers GenericError, so
/// that no client waits for ever. A second answer is ignored.
class ReplySink {
public:
    using Receiver = std::function<void(ReplyValue)>;

    explicit ReplySink(Receiver receiver) : receiver_(std::move(receiver)) {}
    ReplySink(ReplySink&& other) noexcept
        : receiver_(std::exchange(other.receiver_, nullptr)), listed_(other.listed_) {}
    ReplySink& operator=(ReplySink&& other) noexcept;
    ReplySink(const ReplySink&) = delete;
    ReplySink& operator=(const ReplySink&) = delete;
    ~ReplySink();

    /// Success; a command without a result gives an empty object.
    void operator()(Json value) { answer(std::move(value)); }
    /// Failure, classed by `to_qmp_error`.
    void operator()(const Error& error) { answer(to_qmp_error(error, listed_)); }
    /// Failure with a class of the caller's choice.
    void operator()(QmpError error) { answer(std::move(error)); }
    /// Success with a result that was encoded beforehand.
    void operator()(WireText text) { answer(text); }

    /// The error classes of the command's schema entry, which an Error may turn into.
    void list_error_classes(ErrorClassSet listed) { listed_ = listed; }

    /// Whether an answer is still owed.
    [[nodiscard]] bool pending() const { return receiver_ != nullptr; }

private:
    void answer(ReplyValue value);

    Receiver receiver_;
    ErrorClassSet listed_ = 0;
};

/// A ReplySink that takes a T (void, or a type with nlohmann's `to_json`), for the handlers of
/// asynchronous commands. The rules of ReplySink apply.
template <typename T>
class Reply {
public:
    explicit Reply(ReplySink sink) : sink_(std::move(sink)) {}

    /// Success with `value`.
    void operator()(const T& value) { sink_(Json(value)); }
    /// Failure.
    void operator()(const Error& error) { sink_(error); }
    /// Failure with a class of the caller's choice.
    void operator()(QmpError error) { sink_(std::move(error)); }
    /// Either, as the result says.
    void operator()(const Result<T>& result) {
        if (result) {
            sink_(Json(result.value()));
        } else {
            sink_(result.error());
        }
    }

    [[nodiscard]] bool pending() const { return sink_.pending(); }

private:
    ReplySink sink_;
};

template <>
class Reply<void> {
public:
    explicit Reply(ReplySink sink) : sink_(std::move(sink)) {}

    /// Success.
    void operator()() { sink_(Json::object()); }
    /// Failure.
    void operator()(const Error& error) { sink_(error); }
    /// Failure with a class of the caller's choice.
    void operator()(QmpError error) { sink_(std::move(error)); }
    /// Either, as the result says.
    void operator()(const Result<void>& result) {
        if (result) {
            sink_(Json::object());
        } else {
            sink_(result.error());
        }
    }

    [[nodiscard]] bool pending() const { return sink_.pending(); }

private:
    ReplySink sink_;
};

}  // namespace halcyon
