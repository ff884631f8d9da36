// The journal as the log's sink.
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstdlib>
#include <deque>
#include <mutex>
#include <utility>

#include <spdlog/sinks/base_sink.h>

#include "base/log.h"
#include "daemon/service/libsystemd.h"
#include "daemon/service/systemd.h"

namespace halcyon {
namespace {

/// syslog(3)'s priorities, which the journal uses.
const char* priority_of(spdlog::level::level_enum level) {
    switch (level) {
        case spdlog::level::trace:
        case spdlog::level::debug:
            return "PRIORITY=7";
        case spdlog::level::info:
            return "PRIORITY=6";
        case spdlog::level::warn:
            return "PRIORITY=4";
        case spdlog::level::err:
            return "PRIORITY=3";
        case spdlog::level::critical:
        case spdlog::level::off:
        case spdlog::level::n_levels:
            return "PRIORITY=2";
    }
    return "PRIORITY=3";
}

/// The base class's mutex guards nothing of ours: it keeps messages whole and in order.
class JournalSink final : public spdlog::sinks::base_sink<std::mutex> {
public:
    JournalSink(const Libsystemd& library, std::vector<std::string> fields)
        : library_(library), fields_(std::move(fields)) {}

protected:
    void sink_it_(const spdlog::details::log_msg& message) override {
        // Made here and not kept: a deque's elements stay where they are.
        std::deque<std::string> own;
        own.emplace_back("MESSAGE=").append(message.payload.data(), message.payload.size());
        own.emplace_back(priority_of(message.level));
        own.emplace_back("SYSLOG_IDENTIFIER=halcyond");
        for (const LogScope* scope = LogScope::innermost(); scope != nullptr;
             scope = scope->outer()) {
            own.push_back(std::string(scope->field()) + "=" + scope->value());
        }
        std::vector<iovec> entry;
        entry.reserve(own.size() + fields_.size());
        for (const auto& field : own) {
            entry.push_back(to_iovec(field));
        }
        for (const auto& field : fields_) {
            entry.push_back(to_iovec(field));
        }
        // A journal that does not listen is no reason to end a VM.
        static_cast<void>(library_.journal_sendv(entry.data(), static_cast<int>(entry.size())));
    }
    void flush_() override {}

private:
    static iovec to_iovec(const std::string& text) {
        // The kernel's type has no const; nothing is written there.
        return {.iov_base = const_cast<char*>(text.data()), .iov_len = text.size()};
    }

    const Libsystemd& library_;
    std::vector<std::string> fields_;
};

}  // namespace

bool stderr_is_journal() {
    const char* stream = std::getenv("JOURNAL_STREAM");
    struct stat status {};
    if (stream == nullptr || fstat(STDERR_FILENO, &status) != 0) {
        return false;
    }
    return std::to_string(status.st_dev) + ":" + std::to_string(status.st_ino) == stream &&
           Libsystemd::get() != nullptr;
}

std::shared_ptr<spdlog::sinks::sink> make_journal_sink(std::vector<std::string> fields) {
    const Libsystemd* library = Libsystemd::get();
    return library == nullptr ? nullptr
                              : std::make_shared<JournalSink>(*library, std::move(fields));
}

}  // namespace halcyon
