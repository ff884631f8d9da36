// String and string port instructions. An element either happens or not; between two, a repeated
// instruction can be left and later goes on where it was, as after an interrupt.
#include "accel/mshv/instruction_groups.h"

namespace halcyon::mshv::executor {

namespace {

/// What all elements of one instruction have in common.
struct StringOperation {
    uint8_t opcode = 0;  ///< the even one of the pair
    unsigned size = 0;
    unsigned address_size = 0;
    uint64_t stride = 0;
    Segment source = Segment::kDs;
};

enum : uint8_t {
    kIns = 0x6c,
    kOuts = 0x6e,
    kMovs = 0xa4,
    kCmps = 0xa6,
    kStos = 0xaa,
    kLods = 0xac,
    kScas = 0xae,
};

StringOperation operation_of(const Execution& execution) {
    StringOperation operation;
    const uint8_t opcode = execution.instruction().opcode;
    operation.opcode = opcode & 0xfe;
    const bool port = operation.opcode == kIns || operation.opcode == kOuts;
    operation.size = (opcode & 1) == 0 ? 1 : execution.width();
    if (port && operation.size == 8) {
        operation.size = 4;  // ports have no more
    }
    operation.address_size = execution.instruction().address_width / 8;
    const bool down = execution.flag(kDirectionFlag);
    operation.stride = down ? 0 - uint64_t{operation.size} : operation.size;
    operation.source = execution.source_segment();
    return operation;
}

void compare(Execution& execution, unsigned size, uint64_t left, uint64_t right) {
    execution.set_flags(kStatusFlags, subtract(left, right, false, size).flags);
}

/// Writing is checked before anything is read: a device must not lose what it gave.
void move_element(Execution& execution, unsigned size, Location source, Location destination) {
    execution.check_write(destination, size);
    if (execution.stopped()) {
        execution.read_faults_first(source, size);
        return;
    }
    execution.store(destination, size, execution.load(source, size));
}

void port_in(Execution& execution, unsigned size, Location destination) {
    execution.check_write(destination, size);
    if (!execution.stopped()) {
        std::array<std::byte, 4> data{};
        const std::span<std::byte> element = std::span(data).first(size);
        execution.bus().port_read(static_cast<uint16_t>(execution.gpr(kRdx)), element);
        execution.write(destination, element);
    }
}

void port_out(Execution& execution, unsigned size, Location source) {
    std::array<std::byte, 4> data{};
    const std::span<std::byte> element = std::span(data).first(size);
    execution.read(source, element);
    if (!execution.stopped()) {
        execution.bus().port_write(static_cast<uint16_t>(execution.gpr(kRdx)), element);
    }
}

void advance(Execution& execution, const StringOperation& operation, Gpr index, uint64_t by) {
    if (!execution.stopped()) {
        execution.set_gpr(index, operation.address_size, execution.gpr(index) + by);
    }
}

/// One element, without the count.
void do_element(Execution& execution, const StringOperation& operation) {
    const unsigned size = operation.size;
    const Location source{operation.source, execution.gpr(kRsi, operation.address_size)};
    const Location destination{Segment::kEs, execution.gpr(kRdi, operation.address_size)};
    bool has_source = true;
    bool has_destination = true;
    switch (operation.opcode) {
        case kIns:
            has_source = false;
            port_in(execution, size, destination);
            break;
        case kOuts:
            has_destination = false;
            port_out(execution, size, source);
            break;
        case kMovs:
            move_element(execution, size, source, destination);
            break;
        case kCmps: {
            // In this order: processors report a fault of the destination first.
            const uint64_t right = execution.load(destination, size);
            compare(execution, size, execution.load(source, size), right);
            break;
        }
        case kStos:
            has_source = false;
            execution.store(destination, size, execution.gpr(kRax));
            break;
        case kLods:
            has_destination = false;
            execution.set_gpr(kRax, size, execution.load(source, size));
            break;
        case kScas:
            has_source = false;
            compare(execution, size, execution.gpr(kRax, size), execution.load(destination, size));
            break;
    }
    if (has_source) {
        advance(execution, operation, kRsi, operation.stride);
    }
    if (has_destination) {
        advance(execution, operation, kRdi, operation.stride);
    }
}

}  // namespace

void string_instruction(Execution& execution) {
    const StringOperation operation = operation_of(execution);
    const uint8_t repeat = execution.repeat_prefix();
    if (repeat == 0) {
        do_element(execution, operation);
        return;
    }
    const bool compares = operation.opcode == kCmps || operation.opcode == kScas;
    const uint64_t batch = execution.single_step() ? 1 : kRepBatch;
    for (uint64_t done = 0; execution.gpr(kRcx, operation.address_size) != 0; ++done) {
        if (done == batch) {
            execution.repeat_later();
            return;
        }
        do_element(execution, operation);
        advance(execution, operation, kRcx, ~uint64_t{0});
        if (execution.stopped()) {
            return;
        }
        execution.commit();
        if (compares && execution.flag(kZeroFlag) == (repeat == 0xf2)) {
            return;
        }
    }
}

}  // namespace halcyon::mshv::executor
