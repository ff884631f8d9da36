#include "daemon/daemon_main.h"

int main(int argc, char** argv) {
    return halcyon::daemon_main(argc, argv, halcyon::accelerators());
}
