#include "tests/mshv-emulator/abi_status_fixture.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace halcyon::mshv {

Pages::Pages(size_t count) : size_(count * kHvPageSize) {
    void* memory = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    data_ = memory == MAP_FAILED ? nullptr : static_cast<uint8_t*>(memory);
}

Pages::~Pages() {
    munmap(data_, size_);
}

std::ostream& operator<<(std::ostream& stream, const CallResult& result) {
    return stream << "errno " << result.error << ", status " << static_cast<int>(result.status)
                  << ", " << result.done << " done";
}

void AbiStatusTest::SetUp() {
    device = open("/dev/mshv", O_RDWR | O_CLOEXEC);
    if (device < 0) {
        GTEST_SKIP() << "no /dev/mshv: " << std::strerror(errno);
    }
    make_partition(kPartitionLapic | kPartitionX2apic);
    ASSERT_EQ(call(partition, kIoctlInitializePartition, nullptr), 0);
}

void AbiStatusTest::TearDown() {
    for (const int vp : vps) {
        close(vp);
    }
    if (partition >= 0) {
        close(partition);
    }
    if (device >= 0) {
        close(device);
    }
}

void AbiStatusTest::make_partition(uint64_t flags) {
    if (partition >= 0) {
        close(partition);
    }
    const CreatePartition create{.flags = flags, .isolation = kIsolationNone};
    partition = ioctl(device, kIoctlCreatePartition, &create);
    ASSERT_GE(partition, 0) << std::strerror(errno);
}

int AbiStatusTest::call(int fd, unsigned long request, const void* argument) const {
    return ioctl(fd, request, argument) < 0 ? errno : 0;
}

int AbiStatusTest::create_vp(uint32_t index, int* error) {
    const CreateVp create{.vp_index = index};
    const int vp = ioctl(partition, kIoctlCreateVp, &create);
    if (error != nullptr) {
        *error = vp < 0 ? errno : 0;
    } else {
        EXPECT_GE(vp, 0) << std::strerror(errno);
    }
    if (vp >= 0) {
        vps.push_back(vp);
    }
    return vp;
}

int AbiStatusTest::map(uint64_t first_page, const Pages& memory, size_t pages, uint8_t flags) {
    UserMemoryRegion region{};
    region.size = pages * kHvPageSize;
    region.guest_pfn = first_page;
    region.userspace_address = memory.address();
    region.flags = flags;
    return call(partition, kIoctlSetGuestMemory, &region);
}

int AbiStatusTest::unmap(uint64_t first_page, const Pages& memory, size_t pages) {
    return map(first_page, memory, pages, kMemoryUnmap);
}

CallResult AbiStatusTest::hypercall(int fd, HypercallCode code, const void* input,
                                    size_t input_size, uint16_t repetitions, void* output,
                                    size_t output_size) {
    RootHypercall request{};
    request.code = static_cast<uint16_t>(code);
    request.repetitions = repetitions;
    request.input_size = static_cast<uint16_t>(input_size);
    request.output_size = static_cast<uint16_t>(output_size);
    request.input_pointer = reinterpret_cast<uint64_t>(input);
    request.output_pointer = reinterpret_cast<uint64_t>(output);
    const int error = call(fd, kIoctlRootHypercall, &request);
    return {error, static_cast<HvStatus>(request.status), request.repetitions};
}

CallResult AbiStatusTest::set_property(PartitionProperty property, uint64_t value) {
    const SetPropertyInput input{
        .partition_id = 0, .property = property, .reserved = 0, .value = value};
    return hypercall(partition, HypercallCode::kSetPartitionProperty, &input, sizeof(input));
}

CallResult AbiStatusTest::get_property(int fd, PartitionProperty property, uint64_t& value) {
    const GetPropertyInput input{.partition_id = 0, .property = property, .reserved = 0};
    return hypercall(fd, HypercallCode::kGetPartitionProperty, &input, sizeof(input), 0, &value,
                     sizeof(value));
}

CallResult AbiStatusTest::set_registers(const std::vector<RegisterAssociation>& list, uint32_t vp) {
    std::vector<uint8_t> input(sizeof(VpRegistersInput) + list.size() * sizeof(list[0]));
    VpRegistersInput header{};
    header.vp_index = vp;
    std::memcpy(input.data(), &header, sizeof(header));
    std::memcpy(input.data() + sizeof(header), list.data(), list.size() * sizeof(list[0]));
    return hypercall(partition, HypercallCode::kSetVpRegisters, input.data(), input.size(),
                     static_cast<uint16_t>(list.size()));
}

CallResult AbiStatusTest::get_registers(const std::vector<RegisterName>& names,
                                        std::vector<RegisterValue>& values, uint32_t vp) {
    std::vector<uint8_t> input(sizeof(VpRegistersInput) + names.size() * sizeof(names[0]));
    VpRegistersInput header{};
    header.vp_index = vp;
    std::memcpy(input.data(), &header, sizeof(header));
    std::memcpy(input.data() + sizeof(header), names.data(), names.size() * sizeof(names[0]));
    values.resize(names.size());
    return hypercall(partition, HypercallCode::kGetVpRegisters, input.data(), input.size(),
                     static_cast<uint16_t>(names.size()), values.data(),
                     values.size() * sizeof(values[0]));
}

CallResult AbiStatusTest::set(RegisterName name, uint64_t low, uint64_t high) {
    return set_registers({{name, 0, 0, {low, high}}});
}

RegisterValue AbiStatusTest::get(RegisterName name) {
    std::vector<RegisterValue> values;
    EXPECT_EQ(get_registers({name}, values), (CallResult{0, HvStatus::kSuccess, 1}))
        << "register 0x" << std::hex << static_cast<uint32_t>(name);
    return values[0];
}

}  // namespace halcyon::mshv
