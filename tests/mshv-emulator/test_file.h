/// An emulated file that a test scripts.
#pragma once

#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>

#include "tools/mshv-emulator/emulated_file.h"

namespace halcyon::emulator {

class TestFile final : public EmulatedFile {
public:
    using Serve = std::function<long(unsigned long request, unsigned long argument,
                                     const TrapContext& context)>;
    explicit TestFile(Serve serve = {}) : serve_(std::move(serve)) {}

    long ioctl(unsigned long request, unsigned long argument, const TrapContext& context) override {
        return serve_ ? serve_(request, argument, context) : 0;
    }
    void released() override {
        const std::lock_guard lock(mutex_);
        ++releases_;
        changed_.notify_all();
    }

    [[nodiscard]] int releases() {
        const std::lock_guard lock(mutex_);
        return releases_;
    }
    /// Whether it is released within a time that is long for any machine.
    [[nodiscard]] bool wait_until_released() {
        std::unique_lock lock(mutex_);
        return changed_.wait_for(lock, std::chrono::seconds(20), [this] { return releases_ > 0; });
    }

private:
    Serve serve_;
    std::mutex mutex_;
    std::condition_variable changed_;
    int releases_ = 0;
};

/// Whether the table has seen all that was closed before: it takes events in their order, so it has
/// when it releases a file that is closed only now.
inline bool table_is_idle() {
    const auto file = std::make_shared<TestFile>();
    const int fd = open_emulated_file(file, 0);
    if (fd < 0) {
        return false;
    }
    close(fd);
    return file->wait_until_released();
}

}  // namespace halcyon::emulator
