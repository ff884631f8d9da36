/// mshv-emulator: runs a program with the emulated /dev/mshv, by preloading the library.
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "tools/mshv-emulator/options.h"
#include "tools/mshv-emulator/program_check.h"

namespace halcyon::emulator {
namespace {

/// As env(1) ends when it does not get to run the program.
constexpr int kOwnFailure = 125;
constexpr int kCannotRun = 126;
constexpr int kNotFound = 127;

constexpr const char* kLibrary = "libmshv-emulator.so";

[[noreturn]] void fail(int status, const std::string& message) {
    fprintf(stderr, "mshv-emulator: %s\n", message.c_str());
    exit(status);
}

[[noreturn]] void wrong_usage(const std::string& message) {
    fail(kOwnFailure, message + "\nTry 'mshv-emulator --help'.");
}

[[noreturn]] void help() {
    printf(R"(Usage: mshv-emulator [OPTION..] PROGRAM [ARGUMENT..]
Runs PROGRAM with a /dev/mshv that is emulated on /dev/kvm.

      --kernel=old|new               driver of Linux 6.15 to 6.18, or of 6.19 and later (default)
      --scheduler=hypervisor|root    who schedules virtual processors (default: hypervisor)
      --resample                     resamplefd works, as since Linux 7.2
      --no-register-page             virtual processors have no register page
      --trap-open                    also for programs that open files without the C library
      --fault=NAME=N                 put in a fault every Nth time; may be repeated
      --log=FILE                     log what is refused, and the faults
      --help, --version

Faults:
)");
    for (const FaultName& fault : fault_names()) {
        printf("  %-22s %s\n", std::string(fault.name).c_str(), std::string(fault.meaning).c_str());
    }
    exit(0);
}

void apply_setting(const std::string& setting, Options& options) {
    std::string error;
    if (!parse_setting(setting, options, error)) {
        wrong_usage(error);
    }
}

/// Takes the options from the command line; `optind` is then the program's place.
Options parse_command_line(int argc, char** argv) {
    enum Option {
        kKernel = 1,
        kScheduler,
        kResample,
        kPage,
        kTrapOpen,
        kFault,
        kLog,
        kHelp,
        kVersion
    };
    const std::array<option, 10> known = {{
        {"kernel", required_argument, nullptr, kKernel},
        {"scheduler", required_argument, nullptr, kScheduler},
        {"resample", no_argument, nullptr, kResample},
        {"no-register-page", no_argument, nullptr, kPage},
        {"trap-open", no_argument, nullptr, kTrapOpen},
        {"fault", required_argument, nullptr, kFault},
        {"log", required_argument, nullptr, kLog},
        {"help", no_argument, nullptr, kHelp},
        {"version", no_argument, nullptr, kVersion},
        {nullptr, 0, nullptr, 0},
    }};
    Options options;
    // '+': what follows the program is the program's.
    for (int found = 0; (found = getopt_long(argc, argv, "+", known.data(), nullptr)) != -1;) {
        if (found == kKernel) {
            apply_setting(std::string("kernel=") + optarg, options);
        } else if (found == kScheduler) {
            apply_setting(std::string("scheduler=") + optarg, options);
        } else if (found == kResample) {
            options.resample = true;
        } else if (found == kPage) {
            options.register_page = false;
        } else if (found == kTrapOpen) {
            options.trap_open = true;
        } else if (found == kFault) {
            apply_setting(std::string("fault.") + optarg, options);
        } else if (found == kLog) {
            options.log_path = std::filesystem::absolute(optarg);
        } else if (found == kHelp) {
            help();
        } else if (found == kVersion) {
            printf("mshv-emulator (Halcyon) %s\n", HALCYON_VERSION);
            exit(0);
        } else {
            wrong_usage("that is no option");
        }
    }
    return options;
}

/// The library: beside the launcher as in a build directory, or where it is installed.
std::string find_library() {
    std::error_code error;
    const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
    for (const auto& directory :
         {self.parent_path(), self.parent_path() / MSHV_EMULATOR_LIBRARY_FROM_BIN}) {
        const auto library = std::filesystem::canonical(directory / kLibrary, error);
        if (!error && access(library.c_str(), R_OK) == 0) {
            return library;
        }
    }
    fail(kOwnFailure, std::string(kLibrary) + " is neither beside the launcher nor in " +
                          (self.parent_path() / MSHV_EMULATOR_LIBRARY_FROM_BIN).string());
}

void set_environment(const Options& options) {
    const std::string library = find_library();
    if (library.find_first_of(" :") != std::string::npos) {
        fail(kOwnFailure, library + ": the dynamic linker takes no path with a space or a colon");
    }
    const char* before = getenv("LD_PRELOAD");
    const std::string preload =
        before == nullptr || *before == 0 ? library : library + ":" + before;
    setenv("LD_PRELOAD", preload.c_str(), 1);
    setenv(kOptionsVariable, format_options(options).c_str(), 1);
}

void check_kvm() {
    const int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        fail(kOwnFailure,
             std::string("/dev/kvm, on which /dev/mshv is emulated: ") + strerror(errno));
    }
    const int version = ioctl(fd, KVM_GET_API_VERSION, 0);
    close(fd);
    if (version != KVM_API_VERSION) {
        fail(kOwnFailure, "/dev/kvm, on which /dev/mshv is emulated, is not KVM's");
    }
}

int run(int argc, char** argv) {
    const Options options = parse_command_line(argc, argv);
    if (optind >= argc) {
        wrong_usage("which program?");
    }
    char* const program = argv[optind];
    std::string path;
    if (const int error = find_program(program, path); error != 0) {
        fail(error == ENOENT ? kNotFound : kCannotRun,
             std::string(program) + ": " + strerror(error));
    }
    if (const std::string problem = why_not_preloadable(path); !problem.empty()) {
        fail(kCannotRun, path + " " + problem);
    }
    check_kvm();
    set_environment(options);
    execv(path.c_str(), argv + optind);
    const int error = errno;
    fail(error == ENOENT ? kNotFound : kCannotRun, path + ": " + strerror(error));
}

}  // namespace
}  // namespace halcyon::emulator

int main(int argc, char** argv) {
    return halcyon::emulator::run(argc, argv);
}
