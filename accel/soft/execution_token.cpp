#include "accel/soft/execution_token.h"

#include <algorithm>

namespace halcyon {

bool ExecutionToken::acquire(Lock& lock, ExecutionSlot& slot) {
    if (slot.stop_set()) {
        return false;
    }
    if (holder_ == nullptr && queue_.empty()) {
        holder_ = &slot;
        return true;
    }
    queue_.push_back(&slot);
    waiting_.store(static_cast<uint32_t>(queue_.size()), std::memory_order_relaxed);
    slot.wake.wait(lock, [&] { return holder_ == &slot || slot.stop_set(); });
    if (holder_ == &slot) {
        return true;
    }
    queue_.erase(std::find(queue_.begin(), queue_.end(), &slot));
    waiting_.store(static_cast<uint32_t>(queue_.size()), std::memory_order_relaxed);
    return false;
}

void ExecutionToken::release(Lock& /*lock*/, ExecutionSlot& slot) {
    if (holder_ != &slot) {
        return;
    }
    holder_ = nullptr;
    if (!queue_.empty()) {
        holder_ = queue_.front();
        queue_.pop_front();
        waiting_.store(static_cast<uint32_t>(queue_.size()), std::memory_order_relaxed);
        holder_->wake.notify_all();
    }
    if (exclusive_wanted_.load(std::memory_order_relaxed) != 0) {
        exclusive_wake_.notify_all();
    }
}

// `outside` and `exclusive_wanted_` are a pair of flags as in Dekker's algorithm: each side stores
// its own before it loads the other's, sequentially consistent, so at least one sees the other and
// goes through the mutex.

void ExecutionToken::leave_guest(ExecutionSlot& slot) {
    slot.outside.store(true, std::memory_order_seq_cst);
    if (exclusive_wanted_.load(std::memory_order_seq_cst) != 0) {
        const std::lock_guard guard(mutex_);
        exclusive_wake_.notify_all();
    }
}

void ExecutionToken::enter_guest(ExecutionSlot& slot) {
    slot.outside.store(false, std::memory_order_seq_cst);
    if (exclusive_wanted_.load(std::memory_order_seq_cst) != 0) {
        Lock guard(mutex_);
        safe_point(guard, slot);
    }
}

void ExecutionToken::safe_point(Lock& lock, ExecutionSlot& slot) {
    if (exclusive_wanted_.load(std::memory_order_relaxed) == 0) {
        return;
    }
    slot.outside.store(true, std::memory_order_seq_cst);
    exclusive_wake_.notify_all();
    exclusive_done_.wait(lock,
                         [&] { return exclusive_wanted_.load(std::memory_order_relaxed) == 0; });
    slot.outside.store(false, std::memory_order_seq_cst);
}

void ExecutionToken::exclusive(const std::function<void()>& change) {
    Lock guard(mutex_);
    exclusive_wanted_.fetch_add(1, std::memory_order_seq_cst);
    exclusive_wake_.wait(guard, [&] {
        if (holder_ == nullptr || holder_->outside.load(std::memory_order_seq_cst)) {
            return true;
        }
        notify_locked(*holder_, ExecutionSlot::kSafePoint);
        return false;
    });
    change();
    if (exclusive_wanted_.fetch_sub(1, std::memory_order_seq_cst) == 1) {
        exclusive_done_.notify_all();
    }
}

void ExecutionToken::notify(ExecutionSlot& slot, ExecutionSlot::Attention reason) {
    slot.attention.fetch_or(reason, std::memory_order_acq_rel);
    const std::lock_guard guard(mutex_);
    slot.wake.notify_all();
}

void ExecutionToken::notify_locked(ExecutionSlot& slot, ExecutionSlot::Attention reason) {
    slot.attention.fetch_or(reason, std::memory_order_acq_rel);
    slot.wake.notify_all();
}

}  // namespace halcyon
