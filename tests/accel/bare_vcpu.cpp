#include "tests/accel/bare_vcpu.h"

#include <cstring>

#include "tests/accel/bare_kvm.h"
#ifdef HALCYON_TEST_MSHV
#include "tests/accel/bare_mshv.h"
#endif

namespace halcyon::testing_support {

namespace {

template <typename Vcpu>
std::unique_ptr<BareVcpu> make_vcpu(std::byte* memory) {
    return std::make_unique<Vcpu>(memory);
}

}  // namespace

void BareVcpu::load_program(std::byte* memory) {
    // mov byte [0x2000], 1; jmp $
    static constexpr uint8_t kProgram[] = {0xc6, 0x06, 0x00, 0x20, 0x01, 0xeb, 0xfe};
    std::memcpy(memory + kCode, kProgram, sizeof(kProgram));
}

std::vector<BareHypervisor> bare_hypervisors() {
    return {
#ifdef HALCYON_TEST_MSHV
        {"mshv", BareMshv::unavailable, make_vcpu<BareMshv>},
#endif
        {"kvm", BareKvm::unavailable, make_vcpu<BareKvm>},
    };
}

}  // namespace halcyon::testing_support
