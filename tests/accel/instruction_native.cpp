// The assembly loads all registers, jumps to the instruction, and saves all registers where the
// code after the instruction jumps to. An exception's signal handler goes on at the same place.
#include "tests/accel/instruction_native.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <stdexcept>

#include <asm/ldt.h>
#include <asm/prctl.h>

extern "C" {
extern halcyon::testing_support::NativeRegisters halcyon_native_registers;
halcyon::testing_support::NativeRegisters halcyon_native_registers;
void halcyon_native_enter();
extern const char halcyon_native_landing[], halcyon_native_branch_landing[];
}

static_assert(offsetof(halcyon::testing_support::NativeRegisters, rflags) == 128);
static_assert(offsetof(halcyon::testing_support::NativeRegisters, xmm) == 144);
static_assert(offsetof(halcyon::testing_support::NativeRegisters, mmx) == 400);
static_assert(offsetof(halcyon::testing_support::NativeRegisters, code_offset) == 464);
static_assert(offsetof(halcyon::testing_support::NativeRegisters, stack_selector) == 470);
static_assert(offsetof(halcyon::testing_support::NativeRegisters, host_stack) == 472);
static_assert(offsetof(halcyon::testing_support::NativeRegisters, branched) == 480);

asm(R"(
    .text
    .macro each_xmm what
        .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
            \what \n
        .endr
    .endm
    .macro each_mmx what
        .irp n, 0, 1, 2, 3, 4, 5, 6, 7
            \what \n
        .endr
    .endm
    .macro load_xmm n
        movups halcyon_native_registers+144+16*\n(%rip), %xmm\n
    .endm
    .macro save_xmm n
        movups %xmm\n, halcyon_native_registers+144+16*\n(%rip)
    .endm
    .macro load_mmx n
        movq halcyon_native_registers+400+8*\n(%rip), %mm\n
    .endm
    .macro save_mmx n
        movq %mm\n, halcyon_native_registers+400+8*\n(%rip)
    .endm
    .macro each_gpr what
        \what %rax, 0
        \what %rcx, 1
        \what %rdx, 2
        \what %rbx, 3
        \what %rbp, 5
        \what %rsi, 6
        \what %rdi, 7
        \what %r8, 8
        \what %r9, 9
        \what %r10, 10
        \what %r11, 11
        \what %r12, 12
        \what %r13, 13
        \what %r14, 14
        \what %r15, 15
        \what %rsp, 4
    .endm
    .macro load_gpr name, n
        mov halcyon_native_registers+8*\n(%rip), \name
    .endm
    .macro save_gpr name, n
        mov \name, halcyon_native_registers+8*\n(%rip)
    .endm

    .hidden halcyon_native_registers
    .globl halcyon_native_enter
    .hidden halcyon_native_enter
    .type halcyon_native_enter, @function
halcyon_native_enter:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, halcyon_native_registers+472(%rip)
    each_xmm load_xmm
    each_mmx load_mmx
    mov halcyon_native_registers+470(%rip), %ss
    pushq halcyon_native_registers+128(%rip)
    popfq
    each_gpr load_gpr
    ljmpl *halcyon_native_registers+464(%rip)

    .globl halcyon_native_branch_landing
    .hidden halcyon_native_branch_landing
halcyon_native_branch_landing:
    movb $1, halcyon_native_registers+480(%rip)
    .globl halcyon_native_landing
    .hidden halcyon_native_landing
halcyon_native_landing:
    each_gpr save_gpr
    mov $0x2b, %eax
    mov %eax, %ss
    mov halcyon_native_registers+472(%rip), %rsp
    pushfq
    popq halcyon_native_registers+128(%rip)
    pushq $0x202
    popfq
    each_xmm save_xmm
    each_mmx save_mmx
    emms
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret
    .size halcyon_native_enter, . - halcyon_native_enter
)");

namespace halcyon::testing_support {

namespace {

constexpr int kSignals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
constexpr size_t kSignalStack = 64 * 1024;
// Within the code page: stubs in 64-bit code that jump to the landings.
constexpr uint32_t kStubAt = 0xf00;
constexpr uint32_t kBranchStubAt = 0xf20;
// Where branches go, in the code's own mode.
constexpr uint32_t kBranchAt = 0xf40;

volatile sig_atomic_t running = 0;
NativeFault fault;
bool faulted = false;
std::array<struct sigaction, std::size(kSignals)> old_actions;
stack_t old_stack;

void on_signal(int number, siginfo_t* /*info*/, void* context) {
    if (running == 0) {
        signal(number, SIG_DFL);  // not ours: happens again
        return;
    }
    auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
    faulted = true;
    fault.vector = static_cast<unsigned>(registers[REG_TRAPNO]);
    fault.error_code = static_cast<uint64_t>(registers[REG_ERR]);
    fault.address = static_cast<uint64_t>(registers[REG_CR2]);
    fault.rip = static_cast<uint64_t>(registers[REG_RIP]);
    registers[REG_RIP] = reinterpret_cast<greg_t>(halcyon_native_landing);
    // CS in the lowest word, SS in the highest.
    const auto others = static_cast<uint64_t>(registers[REG_CSGSFS]) & 0x0000ffffffff0000;
    registers[REG_CSGSFS] = static_cast<greg_t>(others | NativeProcessor::kCode64 |
                                                (uint64_t{NativeProcessor::kData32} << 48));
}

std::byte* pointer(uint64_t address) {
    return reinterpret_cast<std::byte*>(address);
}

bool map_at(uint64_t address, size_t size, int protection) {
    return mmap(pointer(address), size, protection,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == pointer(address);
}

template <typename T>
void put(std::byte*& at, T value) {
    std::memcpy(at, &value, sizeof(value));
    at += sizeof(value);
}

/// jmp *2(%rip) and the address, aligned for code that checks alignment.
void put_stub(uint32_t at, const char* landing) {
    std::byte* code = pointer(NativeProcessor::kCode + at);
    put<uint16_t>(code, 0x25ff);
    put<uint32_t>(code, 2);
    put<uint16_t>(code, 0);
    put(code, reinterpret_cast<uint64_t>(landing));
}

/// A jump to a stub that changes no register: in 16- and 32-bit code a far one.
void put_exit(std::byte* code, unsigned code_bits, uint32_t stub) {
    if (code_bits == 64) {
        put<uint8_t>(code, 0xe9);
        const auto from = reinterpret_cast<uint64_t>(code) + 4;
        put(code, static_cast<uint32_t>(NativeProcessor::kCode + stub - from));
        return;
    }
    if (code_bits == 16) {
        put<uint8_t>(code, 0x66);
    }
    put<uint8_t>(code, 0xea);
    put(code, static_cast<uint32_t>(NativeProcessor::kCode + stub));
    put(code, NativeProcessor::kCode64);
}

uint32_t branch_at(unsigned code_bits) {
    return kBranchAt + code_bits / 16 * 16;
}

}  // namespace

uint16_t NativeDescriptor::attributes() const {
    // Accessed, present, not a system segment, privilege 3.
    unsigned attributes = 0xf1;
    attributes |= code ? 0x8 : 0;
    attributes |= writable ? 0x2 : 0;  // of code: readable
    attributes |= expand_down ? 0x4 : 0;
    attributes |= big ? 0x4000 : 0;
    return static_cast<uint16_t>(attributes);
}

std::optional<std::string> NativeProcessor::unavailable() {
    if (!map_at(kCode, kCodeSize, PROT_READ | PROT_WRITE | PROT_EXEC)) {
        return "no page that is writable and executable at a low address";
    }
    munmap(pointer(kCode), kCodeSize);
    return std::nullopt;
}

bool NativeProcessor::has_local_descriptors() {
    user_desc descriptor{};
    descriptor.read_exec_only = 1;
    descriptor.seg_not_present = 1;
    return syscall(SYS_modify_ldt, 0x11, &descriptor, sizeof(descriptor)) == 0;
}

NativeProcessor::NativeProcessor() {
    if (!map_at(kCode, kCodeSize, PROT_READ | PROT_WRITE | PROT_EXEC) ||
        !map_at(kData - kPage, kDataSize + 2 * kPage, PROT_NONE) ||
        mprotect(pointer(kData), kDataSize, PROT_READ | PROT_WRITE) != 0) {
        throw std::runtime_error("cannot map the pages");
    }
    put_stub(kStubAt, halcyon_native_landing);
    put_stub(kBranchStubAt, halcyon_native_branch_landing);
    for (const unsigned bits : {16, 32, 64}) {
        put_exit(pointer(kCode + branch_at(bits)), bits, kBranchStubAt);
    }
    stack_t stack{};
    stack.ss_sp =
        mmap(nullptr, kSignalStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    stack.ss_size = kSignalStack;
    sigaltstack(&stack, &old_stack);
    struct sigaction action {};
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    for (size_t i = 0; i < std::size(kSignals); ++i) {
        sigaction(kSignals[i], &action, &old_actions[i]);
    }
}

NativeProcessor::~NativeProcessor() {
    for (size_t i = 0; i < std::size(kSignals); ++i) {
        sigaction(kSignals[i], &old_actions[i], nullptr);
    }
    stack_t stack{};
    sigaltstack(&old_stack, &stack);
    munmap(stack.ss_sp, stack.ss_size);
    munmap(pointer(kData - kPage), kDataSize + 2 * kPage);
    munmap(pointer(kCode), kCodeSize);
}

std::span<std::byte> NativeProcessor::data() const {
    return {pointer(kData), kDataSize};
}

void NativeProcessor::set_data(std::span<const std::byte> bytes) {
    constexpr uint64_t kReadOnly = kData + kWritablePages * kPage;
    mprotect(pointer(kReadOnly), kPage, PROT_READ | PROT_WRITE);
    std::memcpy(pointer(kData), bytes.data(), bytes.size());
    mprotect(pointer(kReadOnly), kPage, PROT_READ);
}

uint16_t NativeProcessor::set_descriptor(unsigned entry, const NativeDescriptor& descriptor) {
    user_desc description{};
    description.entry_number = entry;
    description.base_addr = descriptor.base;
    const bool pages = descriptor.limit > 0xfffff;
    description.limit = pages ? descriptor.limit >> 12 : descriptor.limit;
    description.limit_in_pages = pages ? 1 : 0;
    description.seg_32bit = descriptor.big ? 1 : 0;
    description.contents = descriptor.code ? 2 : descriptor.expand_down ? 1 : 0;
    description.read_exec_only = descriptor.writable ? 0 : 1;
    description.useable = 1;
    if (syscall(SYS_modify_ldt, 0x11, &description, sizeof(description)) != 0) {
        throw std::runtime_error("modify_ldt failed");
    }
    return static_cast<uint16_t>(entry * 8 + 7);  // local, privilege 3
}

void NativeProcessor::set_gs_base(uint64_t base) {
    syscall(SYS_arch_prctl, ARCH_SET_GS, base);
}

uint64_t NativeProcessor::fs_base() {
    uint64_t base = 0;
    syscall(SYS_arch_prctl, ARCH_GET_FS, &base);
    return base;
}

uint64_t NativeProcessor::branch_target(unsigned code_bits) {
    return kCode + branch_at(code_bits);
}

std::optional<NativeFault> NativeProcessor::run(NativeRegisters& registers,
                                                const NativeSegments& segments,
                                                std::span<const std::byte> instruction,
                                                uint32_t at) {
    std::memcpy(pointer(kCode + at), instruction.data(), instruction.size());
    put_exit(pointer(kCode + at + instruction.size()), segments.code_bits, kStubAt);
    halcyon_native_registers = registers;
    halcyon_native_registers.code_offset = static_cast<uint32_t>(kCode) - segments.code_base + at;
    halcyon_native_registers.code_selector = segments.cs;
    halcyon_native_registers.stack_selector = segments.ss;
    halcyon_native_registers.branched = 0;
    faulted = false;
    if (segments.code_bits != 64) {
        asm volatile("mov %0, %%ds; mov %1, %%es; mov %2, %%gs" ::"r"(uint32_t{segments.ds}),
                     "r"(uint32_t{segments.es}), "r"(uint32_t{segments.gs}));
    }
    running = 1;
    halcyon_native_enter();
    running = 0;
    if (segments.code_bits != 64) {
        asm volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%gs" ::"r"(0U));
    }
    registers = halcyon_native_registers;
    return faulted ? std::optional(fault) : std::nullopt;
}

}  // namespace halcyon::testing_support
