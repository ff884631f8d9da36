/// The messages' contents, from made-up states.
#include "tools/mshv-emulator/message.h"

#include <cstring>

#include <gtest/gtest.h>

namespace halcyon::emulator {
namespace {

template <typename Payload>
Payload payload_of(const mshv::Message& message) {
    Payload payload;
    EXPECT_EQ(message.payload_size, sizeof(Payload));
    std::memcpy(&payload, message.payload, sizeof(payload));
    return payload;
}

/// 64-bit user code at CPL 3, in an interrupt's shadow.
kvm_sync_regs long_mode_state() {
    kvm_sync_regs state{};
    state.regs.rax = 0x1111;
    state.regs.rcx = 0x3333;
    state.regs.rsi = 0x6666;
    state.regs.rdi = 0x7777;
    state.regs.rip = 0xffffffff81000000;
    state.regs.rflags = 0x202;
    state.sregs.cr0 = 1U << 0 | 1U << 18;
    state.sregs.efer = 1U << 10;
    state.sregs.cr8 = 5;
    kvm_segment& cs = state.sregs.cs;
    cs.limit = 0xffffffff;
    cs.selector = 0x33;
    cs.type = 0xb;
    cs.dpl = 3;
    cs.present = cs.s = cs.l = cs.g = 1;
    state.sregs.ss.dpl = 3;
    state.events.interrupt.shadow = 1;
    return state;
}

TEST(MessageTest, HeaderTellsModeAndPrivilege) {
    const kvm_sync_regs state = long_mode_state();
    const auto header = intercept_header({state, 7}, 3, mshv::InterceptAccess::kWrite);
    EXPECT_EQ(header.vp_index, 7U);
    EXPECT_EQ(header.instruction_length(), 3U);
    EXPECT_EQ(header.cr8(), 5U);
    EXPECT_EQ(header.access, mshv::InterceptAccess::kWrite);
    EXPECT_EQ(header.rip, 0xffffffff81000000);
    EXPECT_EQ(header.rflags, 0x202U);
    EXPECT_EQ(header.cs.selector, 0x33);
    EXPECT_EQ(header.cs.attributes, 0xa0fb);
    EXPECT_EQ(header.execution_state, 3U | mshv::kExecutionCr0Pe | mshv::kExecutionCr0Am |
                                          mshv::kExecutionEferLma |
                                          mshv::kExecutionInterruptShadow);
}

TEST(MessageTest, RealModeHasNoPrivilegeLevel) {
    kvm_sync_regs state{};
    state.sregs.ss.dpl = 3;
    EXPECT_EQ(intercept_header({state, 0}, 1, mshv::InterceptAccess::kRead).execution_state, 0);
}

TEST(MessageTest, Virtual8086ModeIsPrivilegeLevelThree) {
    kvm_sync_regs state{};
    state.sregs.cr0 = 1;
    state.regs.rflags = 1U << 17;
    EXPECT_EQ(intercept_header({state, 0}, 1, mshv::InterceptAccess::kRead).execution_state,
              3U | mshv::kExecutionCr0Pe);
}

TEST(MessageTest, PendingEventShows) {
    kvm_sync_regs state{};
    state.events.interrupt.injected = 1;
    EXPECT_EQ(intercept_header({state, 0}, 1, mshv::InterceptAccess::kRead).execution_state,
              mshv::kExecutionInterruptionPending);
}

TEST(MessageTest, PortAccessHasItsRegistersAndBytes) {
    const kvm_sync_regs state = long_mode_state();
    FoundInstruction found;
    found.length = 2;
    found.is_string = found.has_rep = true;
    const GuestAccess access{
        .space = GuestAccess::Space::kPort, .is_write = true, .address = 0x3f8, .size = 2};
    InstructionBytes bytes{.count = 2, .bytes = {0xf3, 0x6f}};
    const auto message = io_port_message({state, 1}, access, found, bytes);
    EXPECT_EQ(message.type, mshv::MessageType::kX64IoPortIntercept);
    const auto payload = payload_of<mshv::IoPortIntercept>(message);
    EXPECT_EQ(payload.header.access, mshv::InterceptAccess::kWrite);
    EXPECT_EQ(payload.header.instruction_length(), 2U);
    EXPECT_EQ(payload.port, 0x3f8);
    EXPECT_EQ(payload.access_size(), 2U);
    EXPECT_TRUE(payload.is_string());
    EXPECT_TRUE(payload.has_rep());
    EXPECT_EQ(payload.rax, 0x1111U);
    EXPECT_EQ(payload.rcx, 0x3333U);
    EXPECT_EQ(payload.rsi, 0x6666U);
    EXPECT_EQ(payload.rdi, 0x7777U);
    EXPECT_EQ(payload.instruction_byte_count, 2);
    EXPECT_EQ(payload.instruction_bytes[1], 0x6f);
}

TEST(MessageTest, MemoryAccessWithoutLinearAddressSaysSo) {
    const kvm_sync_regs state = long_mode_state();
    const auto known = payload_of<mshv::MemoryIntercept>(
        memory_message({state, 0}, mshv::MessageType::kUnmappedGpa, 0xfec00010, 0xffffc010,
                       mshv::InterceptAccess::kRead, {}));
    EXPECT_EQ(known.access_info, mshv::kGvaValid | mshv::kGvaGpaValid);
    EXPECT_EQ(known.guest_virtual_address, 0xffffc010U);
    EXPECT_EQ(known.guest_physical_address, 0xfec00010U);
    EXPECT_EQ(known.tpr_priority, 5);
    EXPECT_EQ(known.instruction_byte_count, 0);
    const auto unknown = payload_of<mshv::MemoryIntercept>(
        memory_message({state, 0}, mshv::MessageType::kUnmappedGpa, 0xfec00010, std::nullopt,
                       mshv::InterceptAccess::kRead, {}));
    EXPECT_EQ(unknown.access_info, 0);
    EXPECT_EQ(unknown.guest_virtual_address, 0U);
}

TEST(MessageTest, EndOfInterruptHasNoHeader) {
    const auto payload = payload_of<mshv::ApicEoi>(eoi_message(3, 0x51));
    EXPECT_EQ(payload.vp_index, 3U);
    EXPECT_EQ(payload.vector, 0x51U);
}

TEST(MessageTest, ExceptionHasAllGeneralRegistersInEncodingOrder) {
    kvm_sync_regs state{};
    for (unsigned i = 0; i < 16; ++i) {
        general(state.regs, i) = 0x100 + i;
    }
    const auto payload = payload_of<mshv::ExceptionIntercept>(
        exception_message({state, 0}, 3, 0, 1, {.count = 1, .bytes = {0xcc}}));
    EXPECT_EQ(payload.vector, 3);
    for (unsigned i = 0; i < 16; ++i) {
        EXPECT_EQ(payload.gpr[i], 0x100U + i);
    }
}

}  // namespace
}  // namespace halcyon::emulator
