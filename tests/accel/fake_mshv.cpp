#include "tests/accel/fake_mshv.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace halcyon::testing_support {

using namespace mshv;

namespace {

constexpr int kOk = 0;

template <typename T>
T read_as(uint64_t address) {
    T value;
    std::memcpy(&value, reinterpret_cast<const void*>(address), sizeof(value));
    return value;
}
template <typename T>
void write_as(uint64_t address, const T& value) {
    std::memcpy(reinterpret_cast<void*>(address), &value, sizeof(value));
}

/// What the intermediate names write.
RegisterName plain_name(RegisterName name) {
    switch (name) {
        case RegisterName::kIntermediateCr0:
            return RegisterName::kCr0;
        case RegisterName::kIntermediateCr3:
            return RegisterName::kCr3;
        case RegisterName::kIntermediateCr4:
            return RegisterName::kCr4;
        case RegisterName::kIntermediateCr8:
            return RegisterName::kCr8;
        default:
            return name;
    }
}

constexpr RegisterName kPageSegmentNames[] = {RegisterName::kEs, RegisterName::kCs,
                                              RegisterName::kSs, RegisterName::kDs,
                                              RegisterName::kFs, RegisterName::kGs};

RegisterName gpr_name(size_t index) {
    return RegisterName{static_cast<uint32_t>(RegisterName::kRax) + static_cast<uint32_t>(index)};
}

}  // namespace

// ---- system calls ----

int FakeMshv::make_fd(Object object, uint32_t vp) {
    const int fd = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    objects_[fd] = {object, vp};
    return fd;
}

int FakeMshv::open(const std::string& /*path*/) {
    const std::lock_guard lock(mutex_);
    return open_result != 0 ? open_result : make_fd(Object::kDevice);
}

int FakeMshv::ioctl(int fd, unsigned long request, void* argument) {
    const std::lock_guard lock(mutex_);
    if (const auto fault = ioctl_faults.find(request); fault != ioctl_faults.end()) {
        const int result = fault->second;
        ioctl_faults.erase(fault);
        return result;
    }
    if (!objects_.contains(fd)) {
        ADD_FAILURE() << "ioctl on a descriptor that is not the driver's";
        return -EBADF;
    }
    const auto [object, index] = objects_[fd];
    if (request == kIoctlRootHypercall) {
        return object == Object::kDevice && kernel_ == Kernel::kOld
                   ? -ENOTTY
                   : hypercall(object, *static_cast<RootHypercall*>(argument));
    }
    if (object == Object::kDevice) {
        return request == kIoctlCreatePartition
                   ? create_partition(*static_cast<CreatePartition*>(argument))
                   : -ENOTTY;
    }
    if (object == Object::kVp) {
        const bool set = request == kIoctlSetVpState;
        return set || request == kIoctlGetVpState
                   ? vp_state(vps_[index], *static_cast<GetSetVpState*>(argument), set)
                   : -ENOTTY;
    }
    switch (request) {
        case kIoctlInitializePartition:
            initialized = true;
            return kOk;
        case kIoctlCreateVp:
            return create_vp(static_cast<CreateVp*>(argument)->vp_index);
        case kIoctlSetGuestMemory:
            return set_guest_memory(*static_cast<UserMemoryRegion*>(argument));
        case kIoctlSetMsiRouting:
            return set_msi_routing(static_cast<std::byte*>(argument));
        case kIoctlIrqfd:
            irqfds.push_back(*static_cast<UserIrqfd*>(argument));
            return kOk;
        case kIoctlIoeventfd:
            ioeventfds.push_back(*static_cast<UserIoeventfd*>(argument));
            return kOk;
        default:
            return -ENOTTY;
    }
}

int FakeMshv::create_partition(const CreatePartition& argument) {
    constexpr uint64_t kKnown = kPartitionLapic | kPartitionX2apic | kPartitionGpaSuperPages;
    if ((argument.flags & ~kKnown) != 0 || argument.isolation != kIsolationNone) {
        return -EINVAL;
    }
    vps_.clear();
    properties_.clear();
    regions.clear();
    initialized = false;
    created = argument;
    return make_fd(Object::kPartition);
}

int FakeMshv::create_vp(uint32_t index) {
    EXPECT_TRUE(initialized);
    if (index >= kMaxVps) {
        return -EINVAL;
    }
    if (vps_.contains(index)) {
        return -EEXIST;
    }
    Vp& vp = vps_[index];
    vp.states[VpStateType::kXsave] = std::vector<std::byte>(xsave_size, std::byte{0x55});
    std::vector<std::byte> lapic(kHvPageSize);
    LapicState fresh{};
    fresh.apic_id = index;
    fresh.version = 0x50014;
    std::memcpy(lapic.data(), &fresh, sizeof(fresh));
    lapic[0x200] = std::byte{0x77};  // something that no manual names
    vp.states[VpStateType::kLapic] = lapic;
    vp.registers[RegisterName::kMtrrCap] = {0x508, 0};
    vp.fd = make_fd(Object::kVp, index);
    return vp.fd;
}

int FakeMshv::set_guest_memory(const UserMemoryRegion& region) {
    const auto overlaps = [](uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size) {
        return a < b + b_size && b < a + a_size;
    };
    const bool unmap = (region.flags & kMemoryUnmap) != 0;
    if (region.size == 0 || region.size % kHvPageSize != 0 ||
        region.userspace_address % kHvPageSize != 0 || region.flags > 7) {
        return -EINVAL;
    }
    if (unmap) {
        const auto found = std::find_if(regions.begin(), regions.end(), [&](const auto& one) {
            return one.guest_pfn == region.guest_pfn;
        });
        if (found == regions.end()) {
            return kernel_ == Kernel::kOld ? -EINVAL : -ENOENT;
        }
        if (found->size != region.size || found->userspace_address != region.userspace_address) {
            return -EINVAL;
        }
        regions.erase(found);
        return kOk;
    }
    for (const UserMemoryRegion& one : regions) {
        const bool same_guest = overlaps(region.guest_pfn, region.size / kHvPageSize, one.guest_pfn,
                                         one.size / kHvPageSize);
        const bool same_host =
            overlaps(region.userspace_address, region.size, one.userspace_address, one.size);
        if (same_guest || (same_host && kernel_ == Kernel::kOld)) {
            return -EEXIST;
        }
    }
    regions.push_back(region);
    return kOk;
}

int FakeMshv::set_msi_routing(const std::byte* table) {
    UserIrqTableHeader header;
    std::memcpy(&header, table, sizeof(header));
    if (header.count > kMaxGuestIrqs || header.reserved != 0) {
        return -EINVAL;
    }
    std::vector<UserIrqEntry> entries(header.count);
    if (!entries.empty()) {
        std::memcpy(entries.data(), table + sizeof(header), entries.size() * sizeof(entries[0]));
    }
    for (const UserIrqEntry& entry : entries) {
        if (entry.gsi >= kMaxGuestIrqs || entry.address_high != 0) {
            return -EINVAL;
        }
    }
    routes = entries;
    return kOk;
}

int FakeMshv::vp_state(Vp& vp, GetSetVpState& argument, bool set) {
    const uint32_t room = argument.buffer_size;
    if (room == 0 || room % kHvPageSize != 0 || argument.buffer_pointer % kHvPageSize != 0) {
        return -EINVAL;
    }
    std::vector<std::byte>& state = vp.states[argument.type];
    argument.buffer_size = static_cast<uint32_t>(state.size());
    if (state.empty() || state.size() > room) {
        return -EINVAL;
    }
    auto* const buffer = reinterpret_cast<std::byte*>(argument.buffer_pointer);
    if (set) {
        std::copy_n(buffer, state.size(), state.begin());
    } else {
        std::copy(state.begin(), state.end(), buffer);
    }
    return kOk;
}

Result<Mapping> FakeMshv::map_page(int vp_fd, VpMmapPage page) {
    const std::lock_guard lock(mutex_);
    if (page_error != 0) {
        return Error::from_errno("a page", std::exchange(page_error, 0));
    }
    if (page != VpMmapPage::kRegisters || !register_page) {
        return Error::from_errno("a page", ENODEV);
    }
    auto mapping = Mapping::anonymous(kHvPageSize, "a page");
    if (mapping) {
        vps_[objects_[vp_fd].second].page = reinterpret_cast<RegisterPage*>(mapping->data());
    }
    return mapping;
}

long FakeMshv::run_vp(int vp_fd, Message& message, const uint32_t* stop_word) {
    Step step;
    {
        const std::lock_guard lock(mutex_);
        if (*stop_word != 0) {
            return kRunEntryAborted;
        }
        EXPECT_EQ(properties_[PartitionProperty::kTimeFreeze], 0u) << "a guest runs in no time";
        const uint32_t index = objects_[vp_fd].second;
        if (script.empty()) {
            ADD_FAILURE() << "the script has come to its end";
            return -EIO;
        }
        import_page(vps_[index]);
        step = std::move(script.front());
        script.pop_front();
    }
    const long result = step(message);
    const std::lock_guard lock(mutex_);
    if (result == 0) {
        export_page(vps_[objects_[vp_fd].second]);
    }
    return result;
}

// ---- the register page ----

void FakeMshv::import_page(Vp& vp) {
    if (vp.page == nullptr) {
        return;
    }
    const RegisterPage& page = *vp.page;
    if ((page.dirty & kDirtyGpr) != 0) {
        for (size_t i = 0; i < std::size(page.gpr); ++i) {
            vp.registers[gpr_name(i)] = {page.gpr[i], 0};
        }
    }
    if ((page.dirty & kDirtyRip) != 0) {
        vp.registers[RegisterName::kRip] = {page.rip, 0};
    }
    if ((page.dirty & kDirtyRflags) != 0) {
        vp.registers[RegisterName::kRflags] = {page.rflags, 0};
    }
    if ((page.dirty & kDirtySegments) != 0) {
        const Segment* segment = &page.es;
        for (const RegisterName name : kPageSegmentNames) {
            std::memcpy(&vp.registers[name], segment++, sizeof(Segment));
        }
    }
    vp.page->dirty = 0;
}

void FakeMshv::export_page(Vp& vp) {
    if (vp.page == nullptr) {
        return;
    }
    RegisterPage& page = *vp.page;
    page.version = page_version;
    page.is_valid = page_valid ? 1 : 0;
    for (size_t i = 0; i < std::size(page.gpr); ++i) {
        page.gpr[i] = page_valid ? vp.registers[gpr_name(i)].low : 0xdead;
    }
    page.rip = vp.registers[RegisterName::kRip].low;
    page.rflags = vp.registers[RegisterName::kRflags].low;
    Segment* segment = &page.es;
    for (const RegisterName name : kPageSegmentNames) {
        std::memcpy(segment++, &vp.registers[name], sizeof(Segment));
    }
    page.cr0 = vp.registers[RegisterName::kCr0].low;
    page.cr3 = vp.registers[RegisterName::kCr3].low;
    page.cr4 = vp.registers[RegisterName::kCr4].low;
    page.efer = vp.registers[RegisterName::kEfer].low;
    page.interrupt_state = vp.registers[RegisterName::kInterruptState].low;
}

// ---- hypercalls ----

int FakeMshv::refuse(RootHypercall& call, HvStatus status, size_t done) {
    call.status = static_cast<uint16_t>(status);
    call.repetitions = static_cast<uint16_t>(done);
    return status == HvStatus::kInvalidParameter ? -EINVAL : -EIO;
}

int FakeMshv::hypercall(Object object, RootHypercall& call) {
    const auto code = HypercallCode{call.code};
    ++calls_[code];
    if (call.status != 0 || call.input_pointer == 0 || call.input_size < 8 ||
        call.input_size > kHvPageSize || (call.output_pointer != 0) != (call.output_size != 0) ||
        call.output_size > kHvPageSize) {
        ADD_FAILURE() << "a hypercall that the driver refuses";
        return -EINVAL;
    }
    const auto fault = std::find_if(faults.begin(), faults.end(),
                                    [&](const Fault& one) { return one.code == code; });
    if (fault == faults.end()) {
        return carry_out(object, call);
    }
    const Fault now = *fault;
    faults.erase(fault);
    if (code == HypercallCode::kSetVpRegisters) {
        set_registers(call, now.done);
    }
    if (now.status != HvStatus::kSuccess) {
        refuse(call, now.status, now.done);
    }
    if (now.error == 0) {
        // Success that did only a part.
        const uint16_t done = static_cast<uint16_t>(now.done);
        if (code == HypercallCode::kGetVpRegisters) {
            get_registers(call, done);
        }
        call.repetitions = done;
    }
    return -now.error;
}

int FakeMshv::carry_out(Object object, RootHypercall& call) {
    switch (HypercallCode{call.code}) {
        case HypercallCode::kGetPartitionProperty:
        case HypercallCode::kSetPartitionProperty:
        case HypercallCode::kGetPartitionPropertyEx:
            return property_call(object, call);
        case HypercallCode::kGetVpRegisters:
            return get_registers(call, call.repetitions);
        case HypercallCode::kSetVpRegisters:
            return set_registers(call, call.repetitions);
        case HypercallCode::kGetVpCpuidValues:
            return get_cpuid(call);
        case HypercallCode::kRegisterInterceptResult:
            EXPECT_EQ(call.input_size, sizeof(RegisterCpuidResultInput));
            cpuid_results.push_back(read_as<RegisterCpuidResultInput>(call.input_pointer));
            return kOk;
        case HypercallCode::kAssertVirtualInterrupt:
            EXPECT_EQ(object, Object::kPartition);
            EXPECT_EQ(call.input_size, sizeof(AssertInterruptInput));
            interrupts.push_back(read_as<AssertInterruptInput>(call.input_pointer));
            return kOk;
        case HypercallCode::kTranslateVirtualAddress: {
            const auto input = read_as<TranslateInput>(call.input_pointer);
            translations.push_back(input);
            TranslateOutput output{};
            output.gpa_page = input.gva_page;
            write_as(call.output_pointer, on_translate ? on_translate(input) : output);
            return kOk;
        }
        default:
            return refuse(call, HvStatus::kInvalidHypercallCode);
    }
}

int FakeMshv::property_call(Object object, RootHypercall& call) {
    const auto input = read_as<GetPropertyInput>(call.input_pointer);
    switch (HypercallCode{call.code}) {
        case HypercallCode::kSetPartitionProperty:
            EXPECT_EQ(object, Object::kPartition);
            if (input.property == PartitionProperty::kSyntheticProcFeatures) {
                EXPECT_FALSE(initialized);
            } else {
                EXPECT_TRUE(initialized);
            }
            properties_[input.property] = read_as<SetPropertyInput>(call.input_pointer).value;
            return kOk;
        case HypercallCode::kGetPartitionPropertyEx:
            EXPECT_EQ(input.partition_id, kPartitionIdSelf);
            if (!knows_assignable_features) {
                return refuse(call, HvStatus::kUnknownProperty);
            }
            write_as(call.output_pointer + 8, assignable_features);
            return kOk;
        default:
            write_as(call.output_pointer, input.property == PartitionProperty::kMaxXsaveDataSize
                                              ? xsave_size
                                              : uint64_t{46});
            return kOk;
    }
}

int FakeMshv::get_registers(RootHypercall& call, size_t limit) {
    const auto header = read_as<VpRegistersInput>(call.input_pointer);
    EXPECT_EQ(call.input_size, sizeof(header) + call.repetitions * sizeof(RegisterName));
    EXPECT_EQ(call.output_size, call.repetitions * sizeof(RegisterValue));
    for (size_t i = 0; i < std::min<size_t>(call.repetitions, limit); ++i) {
        const auto name =
            read_as<RegisterName>(call.input_pointer + sizeof(header) + i * sizeof(RegisterName));
        if (missing_registers.contains(name)) {
            return refuse(call, HvStatus::kInvalidParameter, i);
        }
        write_as(call.output_pointer + i * sizeof(RegisterValue),
                 vps_.at(header.vp_index).registers[name]);
    }
    return kOk;
}

int FakeMshv::set_registers(RootHypercall& call, size_t limit) {
    const auto header = read_as<VpRegistersInput>(call.input_pointer);
    EXPECT_EQ(call.input_size, sizeof(header) + call.repetitions * sizeof(RegisterAssociation));
    Vp& vp = vps_.at(header.vp_index);
    for (size_t i = 0; i < std::min<size_t>(call.repetitions, limit); ++i) {
        const auto one = read_as<RegisterAssociation>(call.input_pointer + sizeof(header) +
                                                      i * sizeof(RegisterAssociation));
        if (missing_registers.contains(one.name)) {
            return refuse(call, HvStatus::kInvalidParameter, i);
        }
        vp.registers[plain_name(one.name)] = one.value;
        vp.set_order.push_back(one.name);
    }
    return kOk;
}

int FakeMshv::get_cpuid(RootHypercall& call) {
    const auto leaf = read_as<CpuidLeaf>(call.input_pointer + sizeof(GetCpuidInput));
    CpuidValues values{};
    switch (leaf.eax) {
        case 0:
            values = {.eax = 0x1f, .ebx = intel ? 0x756e6547U : 0x68747541U, .ecx = 0, .edx = 0};
            break;
        case 1:
            values.eax = 0x806f8;
            break;
        case 4:
        case 0x8000001d:
            // Levels 1, 1, 2, 3 of types data, code, unified, unified.
            if (leaf.ecx < 4) {
                const uint32_t level = leaf.ecx == 0 ? 1 : leaf.ecx;
                values.eax = (leaf.ecx < 2 ? leaf.ecx + 1 : 3) | level << 5;
            }
            break;
        case 0x80000000:
            values.eax = 0x8000001f;
            break;
        default:
            break;
    }
    write_as(call.output_pointer, values);
    return kOk;
}

// ---- messages ----

InterceptHeader intercept_header(InterceptAccess access, size_t length) {
    InterceptHeader header{};
    header.length_and_cr8 = static_cast<uint8_t>(length);
    header.access = access;
    header.execution_state = kExecutionCr0Pe;
    header.cs = {.base = 0, .limit = 0xffffffff, .selector = 8, .attributes = 0xc09b};
    header.rip = kCode;
    header.rflags = 2;
    return header;
}

IoPortIntercept port_access(InterceptAccess access, uint16_t port, unsigned size, uint64_t rax) {
    IoPortIntercept message{};
    message.header = intercept_header(access, 2);
    message.port = port;
    message.access_info = static_cast<uint8_t>(size);
    message.rax = rax;
    return message;
}

MemoryIntercept memory_access(InterceptAccess access, uint64_t gpa, const Code& bytes) {
    MemoryIntercept message{};
    message.header = intercept_header(access, 0);
    message.guest_physical_address = gpa;
    message.guest_virtual_address = gpa;
    message.access_info = kGvaValid | kGvaGpaValid;
    message.instruction_byte_count = static_cast<uint8_t>(bytes.size());
    std::copy(bytes.begin(), bytes.end(), message.instruction_bytes);
    return message;
}

}  // namespace halcyon::testing_support
