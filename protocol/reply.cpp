#include "protocol/reply.h"

namespace halcyon {

std::string_view to_string(ErrorClass error_class) {
    switch (error_class) {
        case ErrorClass::kGenericError:
            return "GenericError";
        case ErrorClass::kCommandNotFound:
            return "CommandNotFound";
        case ErrorClass::kDeviceNotActive:
            return "DeviceNotActive";
        case ErrorClass::kDeviceNotFound:
            return "DeviceNotFound";
        case ErrorClass::kKvmMissingCap:
            return "KVMMissingCap";
    }
    return "GenericError";
}

namespace {

ErrorClass natural_class(ErrorCode code) {
    switch (code) {
        case ErrorCode::kNotFound:
            return ErrorClass::kDeviceNotFound;
        case ErrorCode::kNotActive:
            return ErrorClass::kDeviceNotActive;
        case ErrorCode::kGeneric:
        case ErrorCode::kInvalidArgument:
        case ErrorCode::kUnsupported:
        case ErrorCode::kSystem:
            return ErrorClass::kGenericError;
    }
    return ErrorClass::kGenericError;
}

}  // namespace

QmpError to_qmp_error(const Error& error, ErrorClassSet listed) {
    const ErrorClass natural = natural_class(error.code());
    const bool is_listed = (listed & error_class_bit(natural)) != 0;
    return {.error_class = is_listed ? natural : ErrorClass::kGenericError,
            .description = error.message()};
}

ReplySink& ReplySink::operator=(ReplySink&& other) noexcept {
    if (this != &other) {
        ReplySink dropped(std::move(*this));
        receiver_ = std::exchange(other.receiver_, nullptr);
        listed_ = other.listed_;
    }
    return *this;
}

ReplySink::~ReplySink() {
    if (pending()) {
        answer(QmpError{.error_class = ErrorClass::kGenericError,
                        .description = "Internal error: the command was dropped unanswered"});
    }
}

void ReplySink::answer(ReplyValue value) {
    // Emptied first: the receiver may destroy this sink, and must not be called twice.
    if (const Receiver receiver = std::exchange(receiver_, nullptr)) {
        receiver(std::move(value));
    }
}

}  // namespace halcyon
