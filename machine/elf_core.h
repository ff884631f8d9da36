/// The ELF core file of a machine, as crash and gdb read it.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "accel/vcpu.h"
#include "machine/memory_view.h"

namespace halcyon {

/// The file's beginning, up to the bytes of the first block: ELF header, one PT_NOTE and one
/// PT_LOAD for each block (virtual addresses are the physical ones), and the notes. The blocks
/// follow it, without gaps, in order.
///
/// The notes are those of QEMU's dump-guest-memory, because its readers are: for each vCPU an
/// NT_PRSTATUS of "CORE" as Linux's fs/binfmt_elf.c writes it, then for each vCPU a note of "QEMU"
/// with all registers (the QEMUCPUState of crash's qemu.c, its first version, which ends with the
/// control registers). The machine is i386 unless vCPU 0 is in long mode, as in QEMU; the file is
/// ELF64 always.
[[nodiscard]] std::vector<std::byte> make_core_header(const MemoryView& memory,
                                                      std::span<const VcpuRegisters> vcpus);

}  // namespace halcyon
