#include "machine/elf_core.h"

#include <elf.h>

#include <cstring>
#include <string_view>
#include <type_traits>

namespace halcyon {

namespace {

constexpr uint64_t kEferLongModeActive = uint64_t{1} << 10;  // Intel SDM 3A 2.2.1

template <typename T>
void append(std::vector<std::byte>& out, const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    const auto bytes = std::as_bytes(std::span(&value, 1));
    out.insert(out.end(), bytes.begin(), bytes.end());
}

void append_zeroes(std::vector<std::byte>& out, size_t count) {
    out.resize(out.size() + count);
}

/// A note: sizes and type, then name and contents, each padded to 4 bytes (ELF specification,
/// book I, 2-4).
void append_note(std::vector<std::byte>& out, std::string_view name, uint32_t type,
                 const std::vector<std::byte>& contents) {
    const size_t name_size = name.size() + 1;
    append(out, static_cast<uint32_t>(name_size));
    append(out, static_cast<uint32_t>(contents.size()));
    append(out, type);
    const auto bytes = std::as_bytes(std::span(name.data(), name.size()));
    out.insert(out.end(), bytes.begin(), bytes.end());
    append_zeroes(out, 1 + (4 - name_size % 4) % 4);
    out.insert(out.end(), contents.begin(), contents.end());
    append_zeroes(out, (4 - contents.size() % 4) % 4);
}

/// struct elf_prstatus with x86-64's user_regs_struct (Linux's asm/user_64.h): 336 bytes.
std::vector<std::byte> make_prstatus_64(const VcpuRegisters& state, uint32_t id) {
    std::vector<std::byte> out;
    append_zeroes(out, 32);
    append(out, id);
    append_zeroes(out, 76);
    for (const Gpr gpr :
         {kR15, kR14, kR13, kR12, kRbp, kRbx, kR11, kR10, kR9, kR8, kRax, kRcx, kRdx, kRsi, kRdi}) {
        append(out, state.gpr[gpr]);
    }
    const uint64_t original_rax = 0;
    for (const uint64_t value :
         {original_rax, state.rip, uint64_t{state.cs.selector}, state.rflags, state.gpr[kRsp],
          uint64_t{state.ss.selector}, state.fs.base, state.gs.base, uint64_t{state.ds.selector},
          uint64_t{state.es.selector}, uint64_t{state.fs.selector}, uint64_t{state.gs.selector}}) {
        append(out, value);
    }
    append_zeroes(out, 8);
    return out;
}

/// struct elf_prstatus with i386's user_regs_struct (Linux's asm/user_32.h): 144 bytes.
std::vector<std::byte> make_prstatus_32(const VcpuRegisters& state, uint32_t id) {
    std::vector<std::byte> out;
    append_zeroes(out, 24);
    append(out, id);
    append_zeroes(out, 44);
    for (const Gpr gpr : {kRbx, kRcx, kRdx, kRsi, kRdi, kRbp, kRax}) {
        append(out, static_cast<uint32_t>(state.gpr[gpr]));
    }
    const uint64_t original_eax = 0;
    for (const uint64_t value :
         {uint64_t{state.ds.selector}, uint64_t{state.es.selector}, uint64_t{state.fs.selector},
          uint64_t{state.gs.selector}, original_eax, state.rip, uint64_t{state.cs.selector},
          state.rflags, state.gpr[kRsp], uint64_t{state.ss.selector}}) {
        append(out, static_cast<uint32_t>(value));
    }
    append_zeroes(out, 4);
    return out;
}

void append_segment(std::vector<std::byte>& out, const SegmentRegister& segment) {
    append(out, uint32_t{segment.selector});
    append(out, segment.limit);
    // The attributes where they stand in a descriptor's second word.
    append(out, uint32_t{segment.attributes} << 8);
    append_zeroes(out, 4);
    append(out, segment.base);
}

void append_table(std::vector<std::byte>& out, const TableRegister& table) {
    append_segment(out, {.base = table.base, .limit = table.limit, .selector = 0, .attributes = 0});
}

/// QEMUCPUState: 432 bytes.
std::vector<std::byte> make_qemu_state(const VcpuRegisters& state) {
    constexpr uint32_t kVersion = 1;
    constexpr uint32_t kSize = 432;
    std::vector<std::byte> out;
    append(out, kVersion);
    append(out, kSize);
    for (const Gpr gpr : {kRax, kRbx, kRcx, kRdx, kRsi, kRdi, kRsp, kRbp, kR8, kR9, kR10, kR11,
                          kR12, kR13, kR14, kR15}) {
        append(out, state.gpr[gpr]);
    }
    append(out, state.rip);
    append(out, state.rflags);
    for (const SegmentRegister* segment : {&state.cs, &state.ds, &state.es, &state.fs, &state.gs,
                                           &state.ss, &state.ldt, &state.tr}) {
        append_segment(out, *segment);
    }
    append_table(out, state.gdt);
    append_table(out, state.idt);
    const uint64_t cr1 = 0;
    for (const uint64_t value : {state.cr0, cr1, state.cr2, state.cr3, state.cr4}) {
        append(out, value);
    }
    return out;
}

std::vector<std::byte> make_notes(std::span<const VcpuRegisters> vcpus, bool long_mode) {
    std::vector<std::byte> notes;
    uint32_t id = 0;
    for (const VcpuRegisters& state : vcpus) {
        ++id;  // from 1, like the thread ids of a process
        append_note(notes, "CORE", NT_PRSTATUS,
                    long_mode ? make_prstatus_64(state, id) : make_prstatus_32(state, id));
    }
    for (const VcpuRegisters& state : vcpus) {
        append_note(notes, "QEMU", 0, make_qemu_state(state));
    }
    return notes;
}

}  // namespace

std::vector<std::byte> make_core_header(const MemoryView& memory,
                                        std::span<const VcpuRegisters> vcpus) {
    const bool long_mode = !vcpus.empty() && (vcpus[0].efer & kEferLongModeActive) != 0;
    const std::vector<std::byte> notes = make_notes(vcpus, long_mode);
    const size_t segments = 1 + memory.blocks().size();

    Elf64_Ehdr header{};
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_ident[EI_VERSION] = EV_CURRENT;
    header.e_type = ET_CORE;
    header.e_machine = long_mode ? EM_X86_64 : EM_386;
    header.e_version = EV_CURRENT;
    header.e_phoff = sizeof(header);
    header.e_ehsize = sizeof(header);
    header.e_phentsize = sizeof(Elf64_Phdr);
    header.e_phnum = static_cast<Elf64_Half>(segments);

    std::vector<std::byte> out;
    append(out, header);
    Elf64_Phdr note{};
    note.p_type = PT_NOTE;
    note.p_offset = sizeof(header) + segments * sizeof(Elf64_Phdr);
    note.p_filesz = notes.size();
    note.p_memsz = notes.size();
    append(out, note);
    Elf64_Phdr load{};
    load.p_type = PT_LOAD;
    load.p_offset = note.p_offset + notes.size();
    for (const MemoryBlock& block : memory.blocks()) {
        load.p_vaddr = block.start.value();
        load.p_paddr = block.start.value();
        load.p_filesz = block.bytes.size();
        load.p_memsz = block.bytes.size();
        append(out, load);
        load.p_offset += load.p_filesz;
    }
    out.insert(out.end(), notes.begin(), notes.end());
    return out;
}

}  // namespace halcyon
