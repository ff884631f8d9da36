/// A partition and its VPs through /dev/mshv, driven by the driver's ABI alone: for tests that run
/// under the emulator's launcher, and would on a Hyper-V root partition.
#pragma once

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <vector>

#include <gtest/gtest.h>

#include "accel/mshv/mshv_abi.h"
#include "accel/mshv/mshv_hypercalls.h"
#include "accel/mshv/mshv_messages.h"

namespace halcyon::mshv {

/// The guest's memory: RAM from 0, then read-only memory, then nothing.
inline constexpr uint64_t kRamSize = 0x8000;
inline constexpr uint64_t kRomSize = 0x1000;
inline constexpr uint64_t kHole = 0xa000;
inline constexpr uint64_t kCode = 0x1000;
inline constexpr uint64_t kStack = 0x4000;

template <typename Payload>
Payload payload_of(const Message& message) {
    EXPECT_EQ(message.payload_size, sizeof(Payload));
    Payload payload;
    std::memcpy(&payload, message.payload, sizeof(payload));
    return payload;
}

/// Skips without /dev/mshv. VP 0 exists, in real mode at kCode with flat segments.
class AbiRunTest : public testing::Test {
protected:
    void SetUp() override;
    void TearDown() override;

    /// Makes the partition; SetUp's has local APICs.
    void make_partition(uint64_t flags);
    void close_all();
    int add_vp(uint32_t index);

    /// 0 or errno.
    int hypercall(int fd, HypercallCode code, void* input, size_t input_size, uint16_t reps = 0,
                  void* output = nullptr, size_t output_size = 0);
    RegisterValue get(RegisterName name, uint32_t vp = 0);
    int set(RegisterName name, RegisterValue value, uint32_t vp = 0);
    int set(RegisterName name, uint64_t value, uint32_t vp = 0) {
        return set(name, RegisterValue{value, 0}, vp);
    }
    int assert_interrupt(InterruptType type, uint32_t vector, uint64_t destination = 0,
                         bool is_level = false);
    int set_property(PartitionProperty property, uint64_t value);

    /// The guest's code, at kCode; RIP is put there.
    void load(std::initializer_list<uint8_t> code);
    void set_segments(const Segment& code, const Segment& data);
    /// 32-bit flat segments, no paging.
    void enter_protected_mode();
    /// RUN_VP: 0 or errno.
    int run(uint32_t vp = 0);
    int run_into(void* buffer, uint32_t vp = 0);
    /// VP 0's; unmapped with it. Null without.
    void* mmap_message_page();
    /// RUN_VP, which is to give a message of that type; its payload.
    template <typename Payload>
    Payload expect(MessageType type, uint32_t vp = 0) {
        EXPECT_EQ(run(vp), 0);
        EXPECT_EQ(message.type, type) << std::hex << static_cast<uint32_t>(message.type);
        return payload_of<Payload>(message);
    }
    IoPortIntercept expect_io() {
        return expect<IoPortIntercept>(MessageType::kX64IoPortIntercept);
    }
    /// Goes on behind the instruction, by the register page.
    void step_over(unsigned length, uint32_t vp = 0);
    RegisterPage& page(uint32_t vp = 0) { return *pages[vp]; }

    int device = -1;
    int partition = -1;
    std::vector<int> vps;
    std::vector<RegisterPage*> pages;
    uint8_t* ram = nullptr;
    uint8_t* rom = nullptr;
    Message message{};
};

}  // namespace halcyon::mshv
