#include "tools/mshv-emulator/log.h"

#include <fcntl.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstdio>

#include "tools/mshv-emulator/options.h"
#include "tools/mshv-emulator/trap.h"

namespace halcyon::emulator {

bool log_enabled() {
    return !options().log_path.empty();
}

void log_line(const char* format, ...) {
    if (!log_enabled()) {
        return;
    }
    std::array<char, 512> line;
    int used = snprintf(line.data(), line.size(), "%ld/%ld ", raw_syscall(SYS_getpid),
                        raw_syscall(SYS_gettid));
    va_list arguments;
    va_start(arguments, format);
    used +=
        vsnprintf(line.data() + used, line.size() - static_cast<size_t>(used), format, arguments);
    va_end(arguments);
    const size_t length = std::min(static_cast<size_t>(used), line.size() - 1);
    line[length] = '\n';
    const long fd =
        raw_syscall(SYS_openat, AT_FDCWD, reinterpret_cast<long>(options().log_path.c_str()),
                    O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd >= 0) {
        raw_syscall(SYS_write, fd, reinterpret_cast<long>(line.data()),
                    static_cast<long>(length + 1));
        raw_syscall(SYS_close, fd);
    }
}

}  // namespace halcyon::emulator
