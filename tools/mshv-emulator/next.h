/// Next: the function that an interposed one stands before.
#pragma once

#include <dlfcn.h>

#include <atomic>

namespace halcyon::emulator {

/// Looked up at the first call, without a lock and without memory: that may come from within the
/// program's allocator. All threads.
template <typename Function>
class Next {
public:
    constexpr explicit Next(const char* name) : name_(name) {}

    template <typename... Arguments>
    auto operator()(Arguments... arguments) {
        void* function = function_.load(std::memory_order_relaxed);
        if (function == nullptr) {
            function = dlsym(RTLD_NEXT, name_);
            function_.store(function, std::memory_order_relaxed);
        }
        return reinterpret_cast<Function*>(function)(arguments...);
    }

private:
    const char* name_;
    std::atomic<void*> function_{nullptr};
};

}  // namespace halcyon::emulator
