#include <exception>

#include "ctl/commands.h"
#include "ctl/ctl_options.h"
#include "ctl/exit_status.h"

namespace halcyon {
namespace {

Result<void> run(int argc, char** argv) {
    const CtlOptions options = TRY(parse_ctl_options(argc, argv));
    return options.information ? print(*options.information) : run_ctl(options);
}

CtlStatus outcome(int argc, char** argv) {
    const Result<void> result = run(argc, argv);
    if (result) {
        return CtlStatus::kSuccess;
    }
    complain(result.error().message());
    return status_of(result.error());
}

}  // namespace
}  // namespace halcyon

int main(int argc, char** argv) {
    // Memory may run out wherever a string grows.
    try {
        return static_cast<int>(halcyon::outcome(argc, argv));
    } catch (const std::exception& failure) {
        halcyon::complain(failure.what());
    } catch (...) {
        halcyon::complain("an unknown failure");
    }
    return static_cast<int>(halcyon::CtlStatus::kNoConnection);
}
