#include "accel/vcpu.h"

namespace halcyon {

const char* to_string(RunStop stop) {
    switch (stop) {
        case RunStop::kKicked:
            return "kicked";
        case RunStop::kHalted:
            return "halted";
        case RunStop::kPowerOff:
            return "power-off";
        case RunStop::kReset:
            return "reset";
        case RunStop::kTripleFault:
            return "triple-fault";
        case RunStop::kFault:
            return "fault";
    }
    return "?";
}

VcpuRegisters reset_registers() {
    // Attributes: present, S, type 3 (data, writable, accessed) and type 0xB (code, readable,
    // accessed); LDT type 2, TR type 0xB (busy 32-bit TSS).
    const SegmentRegister data{.base = 0, .limit = 0xffff, .selector = 0, .attributes = 0x93};
    VcpuRegisters registers;
    registers.rip = 0xfff0;
    registers.cs = {.base = 0xffff0000, .limit = 0xffff, .selector = 0xf000, .attributes = 0x9b};
    registers.ds = registers.es = registers.fs = registers.gs = registers.ss = data;
    registers.ldt = {.base = 0, .limit = 0xffff, .selector = 0, .attributes = 0x82};
    registers.tr = {.base = 0, .limit = 0xffff, .selector = 0, .attributes = 0x8b};
    registers.gdt = {.base = 0, .limit = 0xffff};
    registers.idt = {.base = 0, .limit = 0xffff};
    registers.cr0 = 0x60000010;  // CD, NW, ET
    return registers;
}

}  // namespace halcyon
