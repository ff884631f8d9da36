/// Partition: one emulated partition, on one KVM virtual machine.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>

#include "tools/mshv-emulator/emulated_file.h"
#include "tools/mshv-emulator/guest_memory.h"
#include "tools/mshv-emulator/interrupts.h"
#include "tools/mshv-emulator/kvm.h"
#include "tools/mshv-emulator/properties.h"

namespace halcyon::emulator {

class Vp;

/// Serves a partition's descriptor. Each ioctl holds `mutex` from begin to end, as the driver does.
/// Lives until its own descriptor and those of all its VPs are gone, whichever goes last.
class Partition final : public EmulatedFile, public std::enable_shared_from_this<Partition> {
public:
    /// CREATE_PARTITION after its arguments were checked: gives the descriptor, or -errno.
    static int create(uint64_t flags);

    long ioctl(unsigned long request, unsigned long argument, const TrapContext& context) override;
    /// The descriptor is gone: irqfds and ioeventfds are dropped at once, VPs live on.
    void released() override;

    [[nodiscard]] bool has_local_apics() const;
    [[nodiscard]] KvmVm& kvm() { return kvm_; }
    [[nodiscard]] GuestMemory& memory() { return memory_; }
    [[nodiscard]] Interrupts& interrupts() { return interrupts_; }
    [[nodiscard]] Properties& properties() { return properties_; }
    /// The VP of that index, also after its descriptor was closed; null when never created.
    [[nodiscard]] std::shared_ptr<Vp> vp(uint32_t index);
    /// Whether RUN_VP of any VP may run the guest; see Properties for the partition's clock.
    [[nodiscard]] std::recursive_mutex& mutex() { return mutex_; }

private:
    explicit Partition(KvmVm kvm, uint64_t flags);

    std::recursive_mutex mutex_;
    KvmVm kvm_;
    uint64_t flags_ = 0;
    bool initialized_ = false;
    GuestMemory memory_;
    Interrupts interrupts_;
    Properties properties_;
    std::array<std::shared_ptr<Vp>, 256> vps_;
};

}  // namespace halcyon::emulator
