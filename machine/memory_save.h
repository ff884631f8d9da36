/// Copies of guest memory in files: memsave and pmemsave.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "accel/vcpu.h"
#include "base/result.h"
#include "machine/memory_view.h"

namespace halcyon {

// Both for the thread of a BackgroundTask, in pieces, so that a file as large as the address space
// takes no memory. `path` is created or emptied.

/// `size` bytes of guest-physical memory from `start`; holes are zeroes.
Result<void> save_physical(const MemoryView& memory, uint64_t start, uint64_t size,
                           const std::string& path, const std::atomic<bool>& cancelled);

/// `size` bytes from the linear address `start` of a vCPU with these registers. Fails at the first
/// page that is not present, or not memory; what is before it has been written.
Result<void> save_virtual(const MemoryView& memory, const VcpuRegisters& registers, uint64_t start,
                          uint64_t size, const std::string& path,
                          const std::atomic<bool>& cancelled);

}  // namespace halcyon
