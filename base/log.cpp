#include "base/log.h"

#include <fcntl.h>

#include <utility>

#include <spdlog/sinks/basic_file_sink.h>

#include "base/unique_fd.h"

namespace halcyon {

Result<void> log_to_file(const std::string& path) {
    // spdlog would create missing directories, and does not keep the errno.
    const UniqueFd probe(
        ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0644));
    if (!probe) {
        return Error::from_errno("cannot open '" + path + "'");
    }
    try {
        spdlog::set_default_logger(spdlog::basic_logger_mt("halcyond", path));
    } catch (const spdlog::spdlog_ex& failure) {
        return Error("cannot open '" + path + "': " + failure.what(), ErrorCode::kSystem);
    }
    spdlog::flush_on(spdlog::level::info);
    return {};
}

void log_always(std::string_view message) {
    const spdlog::logger& logger = *spdlog::default_logger_raw();
    const spdlog::details::log_msg record(logger.name(), spdlog::level::info, message);
    for (const spdlog::sink_ptr& sink : logger.sinks()) {
        try {
            sink->log(record);
            sink->flush();
        } catch (const spdlog::spdlog_ex&) {
            // A log that cannot be written must not end what it tells of.
        }
    }
}

namespace {

// What a thread is at is its own, and the log's sinks run on the thread that logs.
// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables)
thread_local const LogScope* innermost_scope = nullptr;

}  // namespace

LogScope::LogScope(const char* field, std::string value)
    : field_(field), value_(std::move(value)), outer_(innermost_scope) {
    innermost_scope = this;
}

LogScope::~LogScope() {
    innermost_scope = outer_;
}

const LogScope* LogScope::innermost() {
    return innermost_scope;
}

bool LogRateLimit::permit(uint64_t* suppressed) {
    using namespace std::chrono;
    const int64_t now = duration_cast<nanoseconds>(steady_clock::now().time_since_epoch()).count();
    int64_t start = window_start_.load(std::memory_order_relaxed);
    if (now - start >= duration_cast<nanoseconds>(kInterval).count() &&
        window_start_.compare_exchange_strong(start, now, std::memory_order_relaxed)) {
        used_.store(0, std::memory_order_relaxed);
    }
    if (used_.fetch_add(1, std::memory_order_relaxed) >= kBurst) {
        suppressed_.fetch_add(1, std::memory_order_relaxed);
        return false;
    }
    *suppressed = suppressed_.exchange(0, std::memory_order_relaxed);
    return true;
}

}  // namespace halcyon
