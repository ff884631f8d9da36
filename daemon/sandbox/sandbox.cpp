#include "daemon/sandbox/sandbox.h"

#include <linux/seccomp.h>
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
#include <optional>
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

/// The first argument that the list's word for it means; nothing for none.
std::optional<scmp_datum_t> first_argument(std::string_view word) {
    if (word == "self") {
        return static_cast<scmp_datum_t>(getpid());
    }
    if (word == "set-name") {
        return PR_SET_NAME;
    }
    if (word == "unix") {
        return AF_UNIX;
    }
    return std::nullopt;
}

Result<void> allow(void* filter, std::string_view call) {
    const size_t colon = std::min(call.find(':'), call.size());
    const std::string name(call.substr(0, colon));
    const int number = seccomp_syscall_resolve_name(name.c_str());
    // One that is newer than the library is one that the C library does not use either.
    if (number == __NR_SCMP_ERROR) {
        return {};
    }
    const auto argument = first_argument(call.substr(std::min(colon + 1, call.size())));
    const scmp_arg_cmp comparison{
        .arg = 0, .op = SCMP_CMP_EQ, .datum_a = argument.value_or(0), .datum_b = 0};
    const int added =
        seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, number, argument ? 1 : 0, &comparison);
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
    return compile(filter.get());
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
