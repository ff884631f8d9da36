/// Descriptors that QMP clients pass (SCM_RIGHTS): named ones, and sets.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace halcyon {

/// What `getfd` keeps; one for each monitor. Main thread.
class NamedDescriptors {
public:
    /// Keeps `fd` under `name`, in place of an earlier one.
    void add(const std::string& name, UniqueFd fd) { descriptors_[name] = std::move(fd); }
    /// Gives it away; none when there is no such name.
    UniqueFd take(const std::string& name);

private:
    std::map<std::string, UniqueFd> descriptors_;
};

/// What `add-fd` keeps, for the whole process. Main thread.
class DescriptorSets {
public:
    struct Member {
        UniqueFd fd;
        std::optional<std::string> opaque;
    };
    using Sets = std::map<int64_t, std::vector<Member>>;

    /// Adds `fd` to set `id`, or to a new one with the lowest free number; gives the number.
    int64_t add(std::optional<int64_t> id, UniqueFd fd, std::optional<std::string> opaque);
    /// Closes descriptor `fd` of set `id`, or all of it; false when there is no such thing.
    bool remove(int64_t id, std::optional<int64_t> fd);
    void clear() { sets_.clear(); }
    [[nodiscard]] const Sets& all() const { return sets_; }

    /// Whether `path` names a set: "/dev/fdset/N".
    [[nodiscard]] static std::optional<int64_t> set_of(const std::string& path);
    /// A duplicate of a descriptor of set `id` that is open in the mode of `flags` (O_RDONLY,
    /// O_WRONLY, O_RDWR).
    Result<UniqueFd> open(int64_t id, int flags) const;

private:
    Sets sets_;
};

}  // namespace halcyon
