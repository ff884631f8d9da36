#include "daemon/monitor/descriptors.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "daemon/options/values.h"

namespace halcyon {

UniqueFd NamedDescriptors::take(const std::string& name) {
    auto node = descriptors_.extract(name);
    return node ? std::move(node.mapped()) : UniqueFd();
}

int64_t DescriptorSets::add(std::optional<int64_t> id, UniqueFd fd,
                            std::optional<std::string> opaque) {
    int64_t number = id.value_or(0);
    while (!id && sets_.contains(number)) {
        ++number;
    }
    sets_[number].push_back({.fd = std::move(fd), .opaque = std::move(opaque)});
    return number;
}

bool DescriptorSets::remove(int64_t id, std::optional<int64_t> fd) {
    const auto set = sets_.find(id);
    if (set == sets_.end()) {
        return false;
    }
    if (!fd) {
        sets_.erase(set);
        return true;
    }
    const bool found = std::erase_if(set->second, [&](const Member& member) {
                           return member.fd.get() == *fd;
                       }) != 0;
    if (set->second.empty()) {
        sets_.erase(set);
    }
    return found;
}

std::optional<int64_t> DescriptorSets::set_of(const std::string& path) {
    constexpr std::string_view kPrefix = "/dev/fdset/";
    if (!path.starts_with(kPrefix)) {
        return std::nullopt;
    }
    const std::optional<uint64_t> number =
        parse_number(std::string_view(path).substr(kPrefix.size()));
    return number ? std::optional(static_cast<int64_t>(*number)) : std::nullopt;
}

Result<UniqueFd> DescriptorSets::open(int64_t id, int flags) const {
    const auto set = sets_.find(id);
    if (set == sets_.end()) {
        return Error::from_errno("there is no descriptor set " + std::to_string(id), ENOENT);
    }
    for (const Member& member : set->second) {
        const int mode = fcntl(member.fd.get(), F_GETFL);
        if (mode >= 0 && (mode & O_ACCMODE) == (flags & O_ACCMODE)) {
            UniqueFd duplicate(fcntl(member.fd.get(), F_DUPFD_CLOEXEC, 0));
            if (!duplicate) {
                return Error::from_errno("cannot duplicate a descriptor");
            }
            return duplicate;
        }
    }
    return Error("descriptor set " + std::to_string(id) +
                 " has no descriptor that is open in the wanted mode");
}

}  // namespace halcyon
