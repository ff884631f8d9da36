#include "daemon/sandbox/sandbox.h"

#include <fcntl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "base/log.h"
#include "base/unique_fd.h"

namespace halcyon {
namespace {

using Filter = std::unique_ptr<void, decltype(&seccomp_release)>;

Error failed(const std::string& what, int negative_errno) {
    return Error::from_errno("-sandbox: " + what, -negative_errno);
}

scmp_arg_cmp equal(unsigned argument, scmp_datum_t value) {
    return {.arg = argument, .op = SCMP_CMP_EQ, .datum_a = value, .datum_b = 0};
}

/// What a list's word behind a call asks of its arguments: any of these; nothing for no word.
std::vector<scmp_arg_cmp> conditions_of(std::string_view word) {
    if (word == "self") {
        return {equal(0, static_cast<scmp_datum_t>(getpid()))};
    }
    if (word == "caller") {
        return {equal(0, 0)};
    }
    if (word == "set-name") {
        return {equal(0, PR_SET_NAME)};
    }
    if (word == "unix") {
        return {equal(0, AF_UNIX)};
    }
    if (word == "thread") {
        return {
            {.arg = 0, .op = SCMP_CMP_MASKED_EQ, .datum_a = CLONE_THREAD, .datum_b = CLONE_THREAD}};
    }
    if (word == "flags") {
        // Not F_SETOWN and F_SETSIG, which send signals.
        std::vector<scmp_arg_cmp> commands;
        for (const int command : {F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_SETFL,
                                  F_OFD_SETLK, F_ADD_SEALS}) {
            commands.push_back(equal(1, static_cast<scmp_datum_t>(command)));
        }
        return commands;
    }
    return {};
}

Result<void> allow(void* filter, std::string_view call) {
    const size_t colon = std::min(call.find(':'), call.size());
    const std::string name(call.substr(0, colon));
    const int number = seccomp_syscall_resolve_name(name.c_str());
    // One that is newer than the library is one that the C library does not use either.
    if (number == __NR_SCMP_ERROR) {
        return {};
    }
    const auto conditions = conditions_of(call.substr(std::min(colon + 1, call.size())));
    int added = conditions.empty() ? seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 0) : 0;
    for (size_t index = 0; index < conditions.size() && added == 0; ++index) {
        added = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, number, 1, &conditions[index]);
    }
    return added == 0 ? Result<void>() : failed("cannot allow " + name, added);
}

Result<void> allow_all(void* filter, std::string_view names) {
    while (!names.empty()) {
        const size_t end = std::min(names.find(' '), names.size());
        TRY(allow(filter, names.substr(0, end)));
        names.remove_prefix(std::min(end + 1, names.size()));
    }
    return {};
}

/// The filter as the kernel takes it. Compiled once: each thread only loads it.
Result<std::vector<sock_filter>> compile(void* filter) {
    const UniqueFd file(memfd_create("seccomp", MFD_CLOEXEC));
    if (!file) {
        return Error::from_errno("-sandbox: cannot create a memory file");
    }
    const int exported = seccomp_export_bpf(filter, file.get());
    struct stat status {};
    if (exported != 0 || fstat(file.get(), &status) != 0) {
        return failed("cannot compile the filter", exported != 0 ? exported : -errno);
    }
    const auto size = static_cast<size_t>(status.st_size);
    std::vector<sock_filter> program(size / sizeof(sock_filter));
    if (pread(file.get(), program.data(), size, 0) != static_cast<ssize_t>(size)) {
        return Error("-sandbox: cannot read the compiled filter");
    }
    return program;
}

Result<std::vector<sock_filter>> make_program(SandboxRole role, uint32_t action) {
    const Filter filter(seccomp_init(action), &seccomp_release);
    if (!filter) {
        return Error("-sandbox: cannot create a filter");
    }
    // The filter's first look is at the call that a vCPU makes all the time.
    static_cast<void>(seccomp_syscall_priority(filter.get(), SCMP_SYS(ioctl), 255));
    for (const SandboxCalls& calls : sandbox_calls(role)) {
        TRY(allow_all(filter.get(), calls.names));
    }
    // A filter cannot see clone3's flags; without it the C library uses clone.
    const int added = seccomp_rule_add(filter.get(), SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    return added == 0 ? compile(filter.get()) : failed("cannot replace clone3", added);
}

long load(const std::vector<sock_filter>& program) {
    const sock_fprog loaded{.len = static_cast<unsigned short>(program.size()),
                            .filter = const_cast<sock_filter*>(program.data())};
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &loaded);
}

}  // namespace

Result<std::unique_ptr<Sandbox>> Sandbox::create(SandboxMode mode) {
    if (mode == SandboxMode::kOff) {
        return std::unique_ptr<Sandbox>();
    }
    const uint32_t refused = mode == SandboxMode::kLog ? SECCOMP_RET_LOG : SECCOMP_RET_ERRNO;
    if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &refused) != 0 ||
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return Error::from_errno("-sandbox: this kernel has no seccomp filters; say -sandbox off");
    }
    const uint32_t action = mode == SandboxMode::kLog ? SCMP_ACT_LOG : SCMP_ACT_ERRNO(EPERM);
    std::array<Program, kRoles> programs;
    for (const SandboxRole role : {SandboxRole::kMain, SandboxRole::kVcpu}) {
        programs.at(static_cast<size_t>(role)) = TRY(make_program(role, action));
    }
    return std::unique_ptr<Sandbox>(new Sandbox(std::move(programs)));
}

void Sandbox::enter(SandboxRole role) const {
    if (load(programs_.at(static_cast<size_t>(role))) != 0) {
        spdlog::critical("-sandbox: a thread cannot be restricted: {}", std::strerror(errno));
        std::abort();
    }
}

bool sandbox_is_built_in() {
    return true;
}

}  // namespace halcyon
