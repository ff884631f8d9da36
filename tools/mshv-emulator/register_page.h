/// The register page: the VP's registers in memory that the program maps.
#pragma once

#include <linux/kvm.h>

#include <array>
#include <cstdint>

#include "accel/mshv/mshv_messages.h"
#include "tools/mshv-emulator/kvm.h"

namespace halcyon::emulator {

/// Fills the page but for `is_valid`, `dirty` and the vectors. XMM registers, DR7 and XFEM, which
/// cost a call of KVM each, only with `with_rest`; else they keep what they had: RUN_VP leaves
/// them out where no instruction that is intercepted uses them, which are those of port and
/// general-register accesses.
void export_registers(mshv::RegisterPage& page, const kvm_sync_regs& state, const KvmVcpu& vcpu,
                      bool with_rest);

/// Takes the groups in `dirty` over from the page, general ones into `regs`. True when segments
/// were, into `sregs`.
bool import_registers(const mshv::RegisterPage& page, uint32_t dirty, kvm_regs& regs,
                      kvm_sregs& sregs);
/// XMM0 to XMM5.
using PageVectors = std::array<std::array<uint64_t, 2>, 6>;
PageVectors page_vectors(const mshv::RegisterPage& page);
/// The XMM group, straight to KVM: those that are no longer what they were in the page, `before`,
/// which may have been older than the guest's. 0 or -errno.
long import_vectors(const mshv::RegisterPage& page, const PageVectors& before, const KvmVcpu& vcpu);

}  // namespace halcyon::emulator
