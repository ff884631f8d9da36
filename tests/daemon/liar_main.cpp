// The daemon with the liar among its accelerators.

#include <vector>

#include "daemon/daemon_main.h"
#include "tests/daemon/liar_accelerator.h"

int main(int argc, char** argv) {
    const halcyon::LiarAccelerator liar;
    const auto built_in = halcyon::accelerators();
    std::vector<const halcyon::Accelerator*> all(built_in.begin(), built_in.end());
    all.push_back(&liar);
    return halcyon::daemon_main(argc, argv, all);
}
