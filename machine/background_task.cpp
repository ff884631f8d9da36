#include "machine/background_task.h"

#include <pthread.h>

#include <system_error>
#include <utility>

namespace halcyon {

BackgroundTask::~BackgroundTask() {
    cancel();
    if (thread_.joinable()) {
        thread_.join();
    }
}

Result<void> BackgroundTask::start(Work work, Done done) {
    try {
        thread_ = std::thread([this, work = std::move(work), done = std::move(done)] {
            ::pthread_setname_np(::pthread_self(), name_.c_str());
            done(work(cancelled_));
        });
    } catch (const std::system_error& failure) {
        return Error::from_errno("cannot start thread '" + name_ + "'", failure.code().value());
    }
    return {};
}

}  // namespace halcyon
