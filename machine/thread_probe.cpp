#include "machine/thread_probe.h"

#include <cstdlib>
#include <fstream>
#include <sstream>

namespace halcyon {

namespace {

std::string first_line(pid_t thread_id, const char* file) {
    std::ifstream in("/proc/self/task/" + std::to_string(thread_id) + "/" + file);
    std::string line;
    std::getline(in, line);
    return line;
}

/// What /proc/self/task/TID/status says behind "NAME:\t"; empty without such a line.
std::string status_field(pid_t thread_id, const std::string& name) {
    std::ifstream in("/proc/self/task/" + std::to_string(thread_id) + "/status");
    const std::string prefix = name + ":\t";
    for (std::string line; std::getline(in, line);) {
        if (line.compare(0, prefix.size(), prefix) == 0) {
            return line.substr(prefix.size());
        }
    }
    return {};
}

}  // namespace

ThreadProbe ThreadProbe::sample(pid_t thread_id) {
    ThreadProbe probe;
    // stat's second field is the name in parentheses, which may itself hold spaces and parentheses.
    const std::string stat = first_line(thread_id, "stat");
    if (const size_t end = stat.rfind(')'); end != std::string::npos && end + 2 < stat.size()) {
        probe.state = stat[end + 2];
    }
    probe.cpu_time = std::chrono::nanoseconds(
        std::strtoll(first_line(thread_id, "schedstat").c_str(), nullptr, 10));
    // "running", or the number and arguments of the system call; "-1 ..." when it sleeps outside of
    // one.
    const std::string syscall = first_line(thread_id, "syscall");
    if (!syscall.empty() && syscall.front() >= '0' && syscall.front() <= '9') {
        probe.syscall = std::strtol(syscall.c_str(), nullptr, 10);
    }
    probe.wchan = first_line(thread_id, "wchan");
    if (probe.wchan == "0") {
        probe.wchan.clear();
    }
    probe.pending_signals = std::strtoull(status_field(thread_id, "SigPnd").c_str(), nullptr, 16);
    return probe;
}

std::string ThreadProbe::describe(pid_t thread_id) const {
    std::ostringstream text;
    text << "thread " << thread_id;
    switch (state) {
        case '?':
            text << " is gone";
            return text.str();
        case 'R':
            text << " is running";
            break;
        case 'D':
            text << " waits uninterruptibly";
            break;
        default:
            text << " sleeps";
            break;
    }
    if (!wchan.empty()) {
        text << " in " << wchan;
    }
    if (syscall >= 0) {
        text << " (system call " << syscall << ")";
    }
    return text.str();
}

}  // namespace halcyon
