// x, xp, print and gva2gpa.

#include <optional>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "daemon/hmp/call.h"
#include "daemon/hmp/disassembly.h"
#include "daemon/hmp/expression.h"
#include "daemon/hmp/memory_dump.h"
#include "daemon/hmp/registers.h"
#include "machine/page_walk.h"

namespace halcyon::hmp {

namespace {

/// What a command with an optional format and an expression was given.
struct Operands {
    DumpFormat format;
    uint64_t value = 0;
    std::optional<VcpuRegisters> registers;  ///< of the call's vCPU; none without vCPUs
};

/// What may stand before the expression.
enum class Takes {
    kValue,   ///< nothing
    kFormat,  ///< a format that holds for the next such command too, but for its count
};

/// Reads the operands, for which the registers are needed, then calls `use`.
void with_operands(const Call& call, Takes takes,
                   std::function<void(const Operands& operands)> use) {
    Operands operands;
    std::string_view rest = call.arguments;
    if (takes != Takes::kValue) {
        const Result<DumpFormat> format = read_format(rest, call.context->dump_format());
        if (!format) {
            answer_misuse(call, format.error().message());
            return;
        }
        operands.format = *format;
    }
    auto evaluate = [call, takes, operands, expression = std::string(rest),
                     use = std::move(use)](const std::vector<VcpuRegisters>& all) mutable {
        if (call.cpu.value() < all.size()) {
            operands.registers = all[call.cpu.value()];
        }
        std::string_view text = expression;
        const Result<int64_t> value =
            read_expression(text, [&](std::string_view name) -> std::optional<int64_t> {
                return operands.registers ? find_register(*operands.registers, name) : std::nullopt;
            });
        if (!value) {
            answer_misuse(call, value.error().message());
        } else if (expect_end(call, text)) {
            operands.value = static_cast<uint64_t>(*value);
            if (takes == Takes::kFormat) {
                call.context->dump_format() = {.notation = operands.format.notation,
                                               .size = operands.format.size};
            }
            use(operands);
        }
    };
    with_registers(call, std::move(evaluate));
}

ReadPhysical physical_reader(const MemoryView& memory) {
    return [&memory](Gpa address, std::span<std::byte> out) -> Result<void> {
        return memory.read(address.value(), out) ? Result<void>() : Error("no memory");
    };
}

std::string show_memory(const Operands& operands, const ReadMemory& read) {
    if (operands.format.notation != 'i') {
        return dump_memory(operands.value, operands.format, read);
    }
    const CodeWidth width = operands.registers ? code_width(*operands.registers) : CodeWidth::k32;
    return disassemble(operands.value, operands.format.count, width, read);
}

}  // namespace

void show_virtual_memory(const Call& call) {
    with_operands(call, Takes::kFormat, [call](const Operands& operands) {
        if (!operands.registers) {
            call.done("Can not dump without CPU\n");
            return;
        }
        const MemoryView memory = call.machine().memory();
        const ReadPhysical physical = physical_reader(memory);
        call.done(show_memory(operands, [&](uint64_t address, std::span<std::byte> out) {
            return read_linear(*operands.registers, address, out, physical).has_value();
        }));
    });
}

void show_physical_memory(const Call& call) {
    with_operands(call, Takes::kFormat, [call](const Operands& operands) {
        const MemoryView memory = call.machine().memory();
        call.done(show_memory(operands, [&](uint64_t address, std::span<std::byte> out) {
            return memory.read(address, out);
        }));
    });
}

void show_value(const Call& call) {
    with_operands(call, Takes::kFormat, [call](const Operands& operands) {
        call.done(format_value(operands.value, operands.format.notation) + "\n");
    });
}

void show_translation(const Call& call) {
    with_operands(call, Takes::kValue, [call](const Operands& operands) {
        if (!operands.registers) {
            call.done("No cpu\n");
            return;
        }
        const MemoryView memory = call.machine().memory();
        const std::optional<Gpa> physical =
            translate_linear(*operands.registers, operands.value, physical_reader(memory));
        call.done(physical ? fmt::format("gpa: {:#x}\n", physical->value()) : "Unmapped\n");
    });
}

}  // namespace halcyon::hmp
