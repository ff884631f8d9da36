/// What happens when the library is loaded: from then on the process has a /dev/mshv.
#include "tools/mshv-emulator/interpose_signals.h"
#include "tools/mshv-emulator/options.h"
#include "tools/mshv-emulator/trap.h"

namespace halcyon::emulator {
namespace {

[[gnu::constructor]] void load() {
    options();  // says what is wrong with them before anything else does
    keep_sigsys();
    install_trap();
}

}  // namespace
}  // namespace halcyon::emulator
