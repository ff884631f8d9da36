/// The part of Interrupts that serves SET_MSI_ROUTING, IRQFD and IOEVENTFD.
#include <fcntl.h>
#include <sys/syscall.h>

#include <algorithm>
#include <bitset>
#include <cerrno>

#include "tools/mshv-emulator/interrupts.h"
#include "tools/mshv-emulator/options.h"
#include "tools/mshv-emulator/trap.h"

namespace halcyon::emulator {

namespace {

constexpr uint32_t kIrqfdFlags = mshv::kIrqfdDeassign | mshv::kIrqfdResample;
constexpr uint32_t kIoeventfdFlags =
    mshv::kIoeventfdDatamatch | mshv::kIoeventfdPio | mshv::kIoeventfdDeassign;
constexpr uint32_t kMsiLevel = 1U << 15;

Descriptor duplicate(int fd) {
    const long copy = raw_syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 3);
    return copy < 0 ? Descriptor() : Descriptor(to_high_descriptor(static_cast<int>(copy)));
}

/// 0 for an eventfd, else what the kernel's eventfd_fdget says. Its link in /proc names it.
long check_eventfd(int fd) {
    char path[32];
    char* end = path + sizeof(path);
    char* begin = end;
    *--begin = '\0';
    unsigned number = static_cast<unsigned>(fd);
    do {
        *--begin = static_cast<char>('0' + number % 10);
        number /= 10;
    } while (number != 0);
    constexpr char kPrefix[] = "/proc/self/fd/";
    begin = std::copy_backward(kPrefix, kPrefix + sizeof(kPrefix) - 1, begin);
    constexpr char kEventfd[] = "anon_inode:[eventfd]";
    char target[sizeof(kEventfd)] = {};
    if (fd < 0 || raw_syscall(SYS_readlink, reinterpret_cast<long>(begin),
                              reinterpret_cast<long>(target), sizeof(target)) < 0) {
        return -EBADF;
    }
    return std::equal(kEventfd, kEventfd + sizeof(kEventfd) - 1, target) ? 0 : -EINVAL;
}

bool same_ioeventfd(const mshv::UserIoeventfd& one, const mshv::UserIoeventfd& other) {
    const bool match = (one.flags & mshv::kIoeventfdDatamatch) != 0;
    return one.address == other.address && one.length == other.length &&
           match == ((other.flags & mshv::kIoeventfdDatamatch) != 0) &&
           (!match || one.datamatch == other.datamatch);
}

kvm_ioeventfd to_kvm(const mshv::UserIoeventfd& argument, int fd, bool deassign) {
    kvm_ioeventfd result{};
    result.datamatch = argument.datamatch;
    result.addr = argument.address;
    result.len = argument.length;
    result.fd = fd;
    if ((argument.flags & mshv::kIoeventfdDatamatch) != 0) {
        result.flags |= KVM_IOEVENTFD_FLAG_DATAMATCH;
    }
    if (deassign) {
        result.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
    }
    return result;
}

}  // namespace

Interrupts::~Interrupts() = default;

// ---- Routing -----------------------------------------------------------------------------------

long check_routes(std::span<const mshv::UserIrqEntry> routes) {
    std::bitset<mshv::kMaxGuestIrqs> seen;
    for (const mshv::UserIrqEntry& route : routes) {
        if (route.gsi >= mshv::kMaxGuestIrqs || route.address_high != 0 || seen.test(route.gsi)) {
            return -EINVAL;
        }
        seen.set(route.gsi, route.gsi != 0);
    }
    return 0;
}

long Interrupts::set_routing(unsigned long argument) {
    mshv::UserIrqTableHeader header{};
    if (const long error = copy_from_program(&header, argument, sizeof(header)); error < 0) {
        return error;
    }
    if (header.count > mshv::kMaxGuestIrqs || header.reserved != 0) {
        return -EINVAL;
    }
    std::vector<mshv::UserIrqEntry> routes(header.count);
    if (const long error = copy_from_program(routes.data(), argument + sizeof(header),
                                             routes.size() * sizeof(mshv::UserIrqEntry));
        error < 0) {
        return error;
    }
    if (const long error = check_routes(routes); error < 0) {
        return error;
    }
    // Of two entries for GSI 0 the later one counts: it overwrites the other in the driver's table.
    const std::lock_guard lock(mutex_);
    routes_.clear();
    for (const mshv::UserIrqEntry& route : routes) {
        std::erase_if(routes_, [&](const auto& other) { return other.gsi == route.gsi; });
        routes_.push_back(route);
    }
    return update_routes_locked();
}

// ---- irqfds ------------------------------------------------------------------------------------

long Interrupts::irqfd(unsigned long argument) {
    mshv::UserIrqfd request{};
    if (const long error = copy_from_program(&request, argument, sizeof(request)); error < 0) {
        return error;
    }
    if ((request.flags & ~kIrqfdFlags) != 0) {
        return -EINVAL;
    }
    const std::lock_guard lock(mutex_);
    return (request.flags & mshv::kIrqfdDeassign) != 0 ? deassign_irqfd(request)
                                                       : assign_irqfd(request);
}

long Interrupts::assign_irqfd(const mshv::UserIrqfd& argument) {
    if (const long error = check_eventfd(argument.fd); error < 0) {
        return error;
    }
    const bool resample = (argument.flags & mshv::kIrqfdResample) != 0;
    Descriptor resample_fd;
    if (resample) {
        if (const long error = check_eventfd(argument.resample_fd); error < 0) {
            return error;
        }
        const auto route = std::find_if(routes_.begin(), routes_.end(), [&](const auto& entry) {
            return entry.gsi == argument.gsi;
        });
        const bool level = route != routes_.end() && (route->data & kMsiLevel) != 0;
        if (!options().resample || !level) {
            return -EINVAL;
        }
        resample_fd = duplicate(argument.resample_fd);
        if (!resample_fd) {
            return -ENOMEM;
        }
    }
    if (local_apics_ && argument.gsi < mshv::kMaxGuestIrqs) {
        irqfd_gsis_.insert(argument.gsi);
        if (!level_messages_.empty()) {
            update_routes_locked();  // the emulator's own routes leave that GSI
        }
    }
    if (local_apics_) {
        kvm_irqfd request{};
        request.fd = static_cast<uint32_t>(argument.fd);
        request.gsi = argument.gsi;
        if (const long result = vm_.ioctl(KVM_IRQFD, &request); result < 0) {
            return result;
        }
    }
    if (resample) {
        resamplers_.push_back({argument.fd, argument.gsi, std::move(resample_fd)});
    }
    return 0;
}

long Interrupts::deassign_irqfd(const mshv::UserIrqfd& argument) {
    if (const long error = check_eventfd(argument.fd); error < 0) {
        return error;
    }
    std::erase_if(resamplers_, [&](const Resampler& resampler) {
        return resampler.fd == argument.fd && resampler.gsi == argument.gsi;
    });
    if (!local_apics_) {
        return 0;
    }
    kvm_irqfd request{};
    request.fd = static_cast<uint32_t>(argument.fd);
    request.gsi = argument.gsi;
    request.flags = KVM_IRQFD_FLAG_DEASSIGN;
    return vm_.ioctl(KVM_IRQFD, &request);
}

bool Interrupts::end_of_interrupt(uint8_t vector) {
    const std::lock_guard lock(mutex_);
    bool consumed = false;
    for (const Resampler& resampler : resamplers_) {
        if (resampler.gsi == vector) {
            const uint64_t one = 1;
            raw_syscall(SYS_write, resampler.resample_fd.get(), reinterpret_cast<long>(&one),
                        sizeof(one));
            consumed = true;
        }
    }
    return consumed;
}

// ---- ioeventfds --------------------------------------------------------------------------------

long Interrupts::ioeventfd(unsigned long argument) {
    mshv::UserIoeventfd request{};
    if (const long error = copy_from_program(&request, argument, sizeof(request)); error < 0) {
        return error;
    }
    const std::lock_guard lock(mutex_);
    return (request.flags & mshv::kIoeventfdDeassign) != 0 ? remove_ioeventfd(request)
                                                           : add_ioeventfd(request);
}

long Interrupts::add_ioeventfd(const mshv::UserIoeventfd& argument) {
    if ((argument.flags & mshv::kIoeventfdPio) != 0) {
        return -EOPNOTSUPP;
    }
    const bool valid_length = argument.length == 0 || argument.length == 1 ||
                              argument.length == 2 || argument.length == 4 || argument.length == 8;
    const bool reserved = std::any_of(std::begin(argument.reserved), std::end(argument.reserved),
                                      [](uint8_t byte) { return byte != 0; });
    if (!valid_length || argument.address + argument.length < argument.address ||
        (argument.flags & ~kIoeventfdFlags) != 0 || reserved) {
        return -EINVAL;
    }
    if (const long error = check_eventfd(argument.fd); error < 0) {
        return error;
    }
    Descriptor copy = duplicate(argument.fd);
    if (!copy) {
        return -ENOMEM;
    }
    kvm_ioeventfd request = to_kvm(argument, copy.get(), false);
    if (const long result = vm_.ioctl(KVM_IOEVENTFD, &request); result < 0) {
        return result;
    }
    ioeventfds_.push_back({argument, std::move(copy)});
    return 0;
}

long Interrupts::remove_ioeventfd(const mshv::UserIoeventfd& argument) {
    if (const long error = check_eventfd(argument.fd); error < 0) {
        return error;
    }
    kvm_ioeventfd request = to_kvm(argument, argument.fd, true);
    // KVM looks for the eventfd itself, so that any descriptor of it will do.
    if (const long result = vm_.ioctl(KVM_IOEVENTFD, &request); result < 0) {
        return result == -EINVAL ? -ENOENT : result;
    }
    std::erase_if(ioeventfds_,
                  [&](const Ioeventfd& other) { return same_ioeventfd(other.argument, argument); });
    return 0;
}

void Interrupts::drop_all() {
    const std::lock_guard lock(mutex_);
    // Without routes an irqfd does nothing.
    routes_.clear();
    resamplers_.clear();
    update_routes_locked();
    for (const Ioeventfd& ioeventfd : ioeventfds_) {
        kvm_ioeventfd request = to_kvm(ioeventfd.argument, ioeventfd.event_fd.get(), true);
        vm_.ioctl(KVM_IOEVENTFD, &request);
    }
    ioeventfds_.clear();
}

}  // namespace halcyon::emulator
