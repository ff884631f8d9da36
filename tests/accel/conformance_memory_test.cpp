// What every backend must do: guest memory, and accesses where there is none.
#include "tests/accel/guest_fixture.h"

namespace halcyon::testing_support {
namespace {

class MemoryConformance : public BackendTest {};
FOR_EVERY_BACKEND(MemoryConformance);

constexpr uint64_t kWindow = 0xc0000;  // where tests map something of their own

/// ES at `base`, in real mode.
void set_es(Guest& guest, uint32_t base) {
    VcpuRegisters registers = guest.registers();
    registers.es.base = base;
    registers.es.selector = static_cast<uint16_t>(base >> 4);
    guest.set_registers(registers);
}

Access mmio_read(uint64_t address, size_t width, uint64_t value) {
    return {AccessKind::kMmioRead, address, width, value};
}
Access mmio_write(uint64_t address, size_t width, uint64_t value) {
    return {AccessKind::kMmioWrite, address, width, value};
}

TEST_P(MemoryConformance, TheGuestReadsAndWritesItsRam) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    guest.write<uint32_t>(kData, 0xdeadbeef);
    guest.start_real_mode({
        0x66, 0xa1, 0x00, 0x20,  // mov eax, [0x2000]
        0x66, 0x40,              // inc eax
        0x66, 0xa3, 0x04, 0x20,  // mov [0x2004], eax
        0xe6, 0xf4,              // out 0xf4, al
    });
    guest.run_to_done();
    EXPECT_EQ(guest.read<uint32_t>(kData + 4), 0xdeadbef0u);
}

TEST_P(MemoryConformance, ReadOnlyMemoryReadsAndItsWritesGoToTheBus) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    auto rom = Mapping::anonymous(kPageSize, "ROM");
    ASSERT_TRUE(rom);
    rom->data()[0x10] = std::byte{0x77};
    ASSERT_TRUE(guest.partition().map_memory({Gpa(kWindow), kPageSize}, rom->data(),
                                             MemoryAccess::kReadOnly));
    guest.start_real_mode({
        0x26, 0xa0, 0x10, 0x00,                    // mov al, es:[0x10]
        0x26, 0xc6, 0x06, 0x10, 0x00, 0x11,        // mov byte es:[0x10], 0x11
        0x26, 0xc7, 0x06, 0x20, 0x00, 0x22, 0x33,  // mov word es:[0x20], 0x3322
        0x26, 0x8a, 0x26, 0x10, 0x00,              // mov ah, es:[0x10]
        0xe6, 0xf4,                                // out 0xf4, al
    });
    set_es(guest, kWindow);
    EXPECT_EQ(guest.run_to_done().gpr[kRax] & 0xffff, 0x7777u);
    EXPECT_EQ(guest.io().accesses(), (std::vector{mmio_write(kWindow + 0x10, 1, 0x11),
                                                  mmio_write(kWindow + 0x20, 2, 0x3322)}));
    EXPECT_EQ(rom->data()[0x10], std::byte{0x77});
    guest.destroy();
}

TEST_P(MemoryConformance, TheGuestExecutesFromReadOnlyMemory) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    auto rom = Mapping::anonymous(kPageSize, "ROM");
    ASSERT_TRUE(rom);
    const Code code = {
        0xb0, 0x42,  // mov al, 0x42
        0xe6, 0xf4,  // out 0xf4, al
    };
    std::memcpy(rom->data(), code.data(), code.size());
    ASSERT_TRUE(guest.partition().map_memory({Gpa(kWindow), kPageSize}, rom->data(),
                                             MemoryAccess::kReadOnly));
    VcpuRegisters registers = real_mode_registers(0);
    registers.cs.base = kWindow;
    registers.cs.selector = kWindow >> 4;
    guest.set_registers(registers);
    EXPECT_EQ(guest.run_to_done().gpr[kRax] & 0xff, 0x42u);
    guest.destroy();
}

TEST_P(MemoryConformance, UnmappedMemoryIsOnTheBusAndMappedAgainItIsNot) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    auto page = Mapping::anonymous(kPageSize, "page");
    auto other = Mapping::anonymous(kPageSize, "other page");
    ASSERT_TRUE(page && other);
    page->data()[0] = std::byte{1};
    other->data()[0] = std::byte{2};
    guest.io().on_read = [](const Access&) { return 3; };
    const GpaRange range{Gpa(kWindow), kPageSize};
    const auto look = [&] {
        guest.start_real_mode({
            0x26, 0xa0, 0x00, 0x00,  // mov al, es:[0]
            0xe6, 0xf4,              // out 0xf4, al
        });
        set_es(guest, kWindow);
        return guest.run_to_done().gpr[kRax] & 0xff;
    };
    EXPECT_EQ(look(), 3u);
    ASSERT_TRUE(guest.partition().map_memory(range, page->data(), MemoryAccess::kReadWrite));
    EXPECT_EQ(look(), 1u);
    ASSERT_TRUE(guest.partition().unmap_memory(range));
    EXPECT_EQ(look(), 3u);
    ASSERT_TRUE(guest.partition().map_memory(range, other->data(), MemoryAccess::kReadOnly));
    EXPECT_EQ(look(), 2u);
    guest.destroy();
}

TEST_P(MemoryConformance, OverlappingMappingsAreRefused) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    auto page = Mapping::anonymous(4 * kPageSize, "pages");
    ASSERT_TRUE(page);
    Partition& partition = guest.partition();
    const auto map = [&](uint64_t start, uint64_t size) {
        std::byte* const host = page->data() + (start - kWindow);
        return partition.map_memory({Gpa(start), size}, host, MemoryAccess::kReadWrite).has_value();
    };
    ASSERT_TRUE(map(kWindow + kPageSize, 2 * kPageSize));
    EXPECT_FALSE(map(kWindow + kPageSize, 2 * kPageSize));
    EXPECT_FALSE(map(kWindow, 2 * kPageSize));
    EXPECT_FALSE(map(kWindow + 2 * kPageSize, 2 * kPageSize));
    EXPECT_FALSE(map(kWindow, 4 * kPageSize));
    EXPECT_TRUE(map(kWindow, kPageSize));
    EXPECT_TRUE(map(kWindow + 3 * kPageSize, kPageSize));
    guest.destroy();
}

TEST_P(MemoryConformance, OnlyWholeMappingsAreTakenBack) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    auto page = Mapping::anonymous(2 * kPageSize, "pages");
    ASSERT_TRUE(page);
    Partition& partition = guest.partition();
    const GpaRange range{Gpa(kWindow), 2 * kPageSize};
    EXPECT_FALSE(partition.unmap_memory(range));
    ASSERT_TRUE(partition.map_memory(range, page->data(), MemoryAccess::kReadWrite));
    EXPECT_FALSE(partition.unmap_memory({Gpa(kWindow), kPageSize}));
    EXPECT_TRUE(partition.unmap_memory(range));
    EXPECT_FALSE(partition.unmap_memory(range));
    guest.destroy();
}

TEST_P(MemoryConformance, PartsOfPagesAreRefused) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    auto page = Mapping::anonymous(2 * kPageSize, "pages");
    ASSERT_TRUE(page);
    Partition& partition = guest.partition();
    const auto map = [&](uint64_t start, uint64_t size, size_t offset) {
        return partition
            .map_memory({Gpa(start), size}, page->data() + offset, MemoryAccess::kReadWrite)
            .has_value();
    };
    EXPECT_FALSE(map(kWindow + 1, kPageSize, 0));
    EXPECT_FALSE(map(kWindow, kPageSize - 1, 0));
    EXPECT_FALSE(map(kWindow, kPageSize, 1));
    EXPECT_FALSE(map(kWindow, 0, 0));
    EXPECT_FALSE(map(~uint64_t{0} - kPageSize + 1, 2 * kPageSize, 0));
    guest.destroy();
}

TEST_P(MemoryConformance, MmioReadsOfEveryWidth) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    guest.io().on_read = [](const Access&) { return 0x8877665544332211; };
    guest.start_real_mode({
        0x26, 0x8a, 0x1e, 0x01, 0x00,        // mov bl, es:[1]
        0x26, 0x8b, 0x0e, 0x02, 0x00,        // mov cx, es:[2]
        0x26, 0x66, 0x8b, 0x16, 0x04, 0x00,  // mov edx, es:[4]
        0xe6, 0xf4,                          // out 0xf4, al
    });
    set_es(guest, kHole);
    const VcpuRegisters after = guest.run_to_done();
    EXPECT_EQ(after.gpr[kRbx] & 0xff, 0x11u);
    EXPECT_EQ(after.gpr[kRcx] & 0xffff, 0x2211u);
    EXPECT_EQ(after.gpr[kRdx] & 0xffffffff, 0x44332211u);
    EXPECT_EQ(guest.io().accesses(),
              (std::vector{mmio_read(kHole + 1, 1, 0x11), mmio_read(kHole + 2, 2, 0x2211),
                           mmio_read(kHole + 4, 4, 0x44332211)}));
}

TEST_P(MemoryConformance, MmioWritesOfEveryWidth) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    guest.start_real_mode({
        0x26, 0xc6, 0x06, 0x01, 0x00, 0x11,                          // mov byte es:[1], 0x11
        0x26, 0xc7, 0x06, 0x02, 0x00, 0x22, 0x33,                    // mov word es:[2], 0x3322
        0x26, 0x66, 0xc7, 0x06, 0x04, 0x00, 0x44, 0x55, 0x66, 0x77,  // mov dword es:[4], 0x77665544
        0xe6, 0xf4,                                                  // out 0xf4, al
    });
    set_es(guest, kHole);
    guest.run_to_done();
    EXPECT_EQ(guest.io().accesses(),
              (std::vector{mmio_write(kHole + 1, 1, 0x11), mmio_write(kHole + 2, 2, 0x3322),
                           mmio_write(kHole + 4, 4, 0x77665544)}));
}

TEST_P(MemoryConformance, AReadModifyWriteOfMmioIsOneReadAndOneWrite) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    guest.io().on_read = [](const Access&) { return 0x0f; };
    guest.start_real_mode({
        0x26, 0x80, 0x0e, 0x08, 0x00, 0xa0,  // or byte es:[8], 0xa0
        0xe6, 0xf4,                          // out 0xf4, al
    });
    set_es(guest, kHole);
    guest.run_to_done();
    EXPECT_EQ(guest.io().accesses(),
              (std::vector{mmio_read(kHole + 8, 1, 0x0f), mmio_write(kHole + 8, 1, 0xaf)}));
}

TEST_P(MemoryConformance, AStringMoveReadsMmioElementByElement) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    guest.io().on_read = [](const Access& access) { return access.address & 0xff; };
    guest.start_real_mode({
        0xfc,              // cld
        0xbe, 0x10, 0x00,  // mov si, 0x10
        0xbf, 0x00, 0x20,  // mov di, 0x2000
        0xb9, 0x04, 0x00,  // mov cx, 4
        0x06,              // push es
        0x1f,              // pop ds
        0x31, 0xc0,        // xor ax, ax
        0x8e, 0xc0,        // mov es, ax
        0xf3, 0xa4,        // rep movsb
        0xe6, 0xf4,        // out 0xf4, al
    });
    set_es(guest, kHole);
    const VcpuRegisters after = guest.run_to_done();
    EXPECT_EQ(after.gpr[kRcx] & 0xffff, 0u);
    EXPECT_EQ(guest.read<uint32_t>(kData), 0x13121110u);
    EXPECT_EQ(guest.io().accesses().size(), 4u);
}

TEST_P(MemoryConformance, MmioAboveOneMebibyteInProtectedMode) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    guest.io().on_read = [](const Access&) { return 0x55667788; };
    guest.start_protected_mode({
        0xa1, 0x00, 0x00, 0x00, 0xd0,  // mov eax, [0xd0000000]
        0xc7, 0x05, 0x04, 0x00, 0x00, 0xd0, 0x01, 0x02, 0x03,
        0x04,        // mov dword [0xd0000004], 0x04030201
        0xe6, 0xf4,  // out 0xf4, al
    });
    EXPECT_EQ(guest.run_to_done().gpr[kRax], 0x55667788u);
    EXPECT_EQ(guest.io().accesses(), (std::vector{mmio_read(0xd0000000, 4, 0x55667788),
                                                  mmio_write(0xd0000004, 4, 0x04030201)}));
}

/// Identity-maps the first 4 GiB with 2 MiB pages, from 0x10000 on, and enters 64-bit mode.
Result<void> start_long_mode(Guest& guest, const Code& code) {
    constexpr uint64_t kPresentWritable = 3;
    constexpr uint64_t kLargePage = 0x80;
    guest.write<uint64_t>(0x10000, 0x11000 | kPresentWritable);
    for (uint64_t i = 0; i < 4; ++i) {
        guest.write<uint64_t>(0x11000 + 8 * i, (0x12000 + 0x1000 * i) | kPresentWritable);
        for (uint64_t j = 0; j < 512; ++j) {
            guest.write<uint64_t>(0x12000 + 0x1000 * i + 8 * j,
                                  ((i << 30) + (j << 21)) | kPresentWritable | kLargePage);
        }
    }
    guest.load(kCode, code);
    VcpuRegisters registers = protected_mode_registers();
    registers.cs.attributes = 0xa09b;
    registers.tr = {.base = 0, .limit = 0x67, .selector = 0x18, .attributes = 0x8b};
    registers.cr0 = 0x80000011;  // PG, ET, PE
    registers.cr3 = 0x10000;
    registers.cr4 = 0x20;    // PAE
    registers.efer = 0x500;  // LME, LMA
    return guest.vcpu().set_registers(registers);
}

TEST_P(MemoryConformance, MmioOfEightBytesInLongMode) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    guest.io().on_read = [](const Access&) { return 0x8877665544332211; };
    const auto started =
        start_long_mode(guest, {
                                   0xbb, 0x00, 0x00, 0x00, 0xd0,  // mov ebx, 0xd0000000
                                   0x48, 0x8b, 0x03,              // mov rax, [rbx]
                                   0x48, 0x89, 0x43, 0x10,        // mov [rbx + 16], rax
                                   0xe6, 0xf4,                    // out 0xf4, al
                               });
    if (!started) {
        GTEST_SKIP() << "no long mode here: " << started.error().message();
    }
    EXPECT_EQ(guest.run_to_done().gpr[kRax], 0x8877665544332211u);
    EXPECT_EQ(guest.io().accesses(), (std::vector{mmio_read(0xd0000000, 8, 0x8877665544332211),
                                                  mmio_write(0xd0000010, 8, 0x8877665544332211)}));
}

}  // namespace
}  // namespace halcyon::testing_support
