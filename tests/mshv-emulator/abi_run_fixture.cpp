#include "tests/mshv-emulator/abi_run_fixture.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace halcyon::mshv {

void AbiRunTest::SetUp() {
    device = open("/dev/mshv", O_RDWR | O_CLOEXEC);
    if (device < 0) {
        GTEST_SKIP() << "no /dev/mshv: " << std::strerror(errno);
    }
    make_partition(kPartitionLapic | kPartitionX2apic);
}

void AbiRunTest::TearDown() {
    close_all();
    if (device >= 0) {
        close(device);
    }
}

void AbiRunTest::close_all() {
    for (RegisterPage* mapped : pages) {
        munmap(mapped, kHvPageSize);
    }
    for (const int vp : vps) {
        close(vp);
    }
    if (partition >= 0) {
        close(partition);
    }
    if (ram != nullptr) {
        munmap(ram, kRamSize + kRomSize);
    }
    pages.clear();
    vps.clear();
    partition = -1;
    ram = nullptr;
}

void AbiRunTest::make_partition(uint64_t flags) {
    close_all();
    const CreatePartition create{.flags = flags, .isolation = kIsolationNone};
    partition = ioctl(device, kIoctlCreatePartition, &create);
    ASSERT_GE(partition, 0) << std::strerror(errno);
    ASSERT_EQ(ioctl(partition, kIoctlInitializePartition), 0) << std::strerror(errno);
    ASSERT_EQ(set_property(PartitionProperty::kUnimplementedMsrAction, 1), 0);

    void* memory = mmap(nullptr, kRamSize + kRomSize, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(memory, MAP_FAILED);
    ram = static_cast<uint8_t*>(memory);
    rom = ram + kRamSize;
    UserMemoryRegion region{};
    region.size = kRamSize;
    region.userspace_address = reinterpret_cast<uint64_t>(ram);
    region.flags = kMemoryWritable | kMemoryExecutable;
    ASSERT_EQ(ioctl(partition, kIoctlSetGuestMemory, &region), 0) << std::strerror(errno);
    region.size = kRomSize;
    region.guest_pfn = kRamSize / kHvPageSize;
    region.userspace_address = reinterpret_cast<uint64_t>(rom);
    region.flags = kMemoryExecutable;
    ASSERT_EQ(ioctl(partition, kIoctlSetGuestMemory, &region), 0) << std::strerror(errno);
    ASSERT_EQ(add_vp(0), 0);
}

int AbiRunTest::add_vp(uint32_t index) {
    const CreateVp create{.vp_index = index};
    const int vp = ioctl(partition, kIoctlCreateVp, &create);
    if (vp < 0) {
        return errno;
    }
    vps.push_back(vp);
    void* mapped = mmap(nullptr, kHvPageSize, PROT_READ | PROT_WRITE, MAP_SHARED, vp, 0);
    if (mapped == MAP_FAILED) {
        return errno;
    }
    pages.push_back(static_cast<RegisterPage*>(mapped));
    return 0;
}

int AbiRunTest::hypercall(int fd, HypercallCode code, void* input, size_t input_size, uint16_t reps,
                          void* output, size_t output_size) {
    RootHypercall call{};
    for (;;) {
        call = {};
        call.code = static_cast<uint16_t>(code);
        call.repetitions = reps;
        call.input_size = static_cast<uint16_t>(input_size);
        call.output_size = static_cast<uint16_t>(output_size);
        call.input_pointer = reinterpret_cast<uint64_t>(input);
        call.output_pointer = reinterpret_cast<uint64_t>(output);
        if (ioctl(fd, kIoctlRootHypercall, &call) == 0) {
            return 0;
        }
        if (errno != EAGAIN) {
            return errno;
        }
    }
}

RegisterValue AbiRunTest::get(RegisterName name, uint32_t vp) {
    struct {
        VpRegistersInput header;
        RegisterName name;
    } input{{.partition_id = 0, .vp_index = vp, .vtl = 0, .reserved = {}}, name};
    RegisterValue value{};
    EXPECT_EQ(hypercall(partition, HypercallCode::kGetVpRegisters, &input,
                        sizeof(VpRegistersInput) + sizeof(name), 1, &value, sizeof(value)),
              0)
        << std::hex << static_cast<uint32_t>(name);
    return value;
}

int AbiRunTest::set(RegisterName name, RegisterValue value, uint32_t vp) {
    struct {
        VpRegistersInput header;
        RegisterAssociation element;
    } input{{.partition_id = 0, .vp_index = vp, .vtl = 0, .reserved = {}}, {name, 0, 0, value}};
    return hypercall(partition, HypercallCode::kSetVpRegisters, &input, sizeof(input), 1);
}

int AbiRunTest::assert_interrupt(InterruptType type, uint32_t vector, uint64_t destination,
                                 bool is_level) {
    AssertInterruptInput input{};
    input.control = static_cast<uint64_t>(type) | (is_level ? kInterruptLevelTriggered : 0);
    input.destination = destination;
    input.vector = vector;
    return hypercall(partition, HypercallCode::kAssertVirtualInterrupt, &input, sizeof(input));
}

int AbiRunTest::set_property(PartitionProperty property, uint64_t value) {
    SetPropertyInput input{.partition_id = 0, .property = property, .reserved = 0, .value = value};
    return hypercall(partition, HypercallCode::kSetPartitionProperty, &input, sizeof(input));
}

void AbiRunTest::set_segments(const Segment& code, const Segment& data) {
    const auto value_of = [](const Segment& segment) {
        RegisterValue value;
        std::memcpy(&value, &segment, sizeof(value));
        return value;
    };
    ASSERT_EQ(set(RegisterName::kCs, value_of(code)), 0);
    for (const RegisterName name : {RegisterName::kDs, RegisterName::kEs, RegisterName::kSs}) {
        ASSERT_EQ(set(name, value_of(data)), 0);
    }
}

void AbiRunTest::enter_protected_mode() {
    ASSERT_EQ(set(RegisterName::kCr0, get(RegisterName::kCr0).low | 1), 0);
    set_segments({.base = 0, .limit = 0xffffffff, .selector = 8, .attributes = 0xc09b},
                 {.base = 0, .limit = 0xffffffff, .selector = 16, .attributes = 0xc093});
}

void AbiRunTest::load(std::initializer_list<uint8_t> code) {
    std::copy(code.begin(), code.end(), ram + kCode);
    set_segments({.base = 0, .limit = 0xffff, .selector = 0, .attributes = 0x9b},
                 {.base = 0, .limit = 0xffff, .selector = 0, .attributes = 0x93});
    ASSERT_EQ(set(RegisterName::kRip, kCode), 0);
    ASSERT_EQ(set(static_cast<RegisterName>(0x20004), kStack), 0);
}

int AbiRunTest::run(uint32_t vp) {
    message = {};
    return run_into(&message, vp);
}

int AbiRunTest::run_into(void* buffer, uint32_t vp) {
    return ioctl(vps[vp], kIoctlRunVp, buffer) == 0 ? 0 : errno;
}

void* AbiRunTest::mmap_message_page() {
    void* mapped = mmap(nullptr, kHvPageSize, PROT_READ, MAP_SHARED, vps[0], kHvPageSize);
    if (mapped == MAP_FAILED) {
        return nullptr;
    }
    pages.push_back(static_cast<RegisterPage*>(mapped));
    return mapped;
}

void AbiRunTest::step_over(unsigned length, uint32_t vp) {
    ASSERT_EQ(page(vp).is_valid, 1);
    page(vp).rip += length;
    page(vp).dirty |= kDirtyRip;
}

}  // namespace halcyon::mshv
