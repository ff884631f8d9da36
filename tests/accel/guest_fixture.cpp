#include "tests/accel/guest_fixture.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace halcyon::testing_support {

namespace {

uint64_t to_value(std::span<const std::byte> data) {
    uint64_t value = 0;
    std::memcpy(&value, data.data(), std::min(data.size(), sizeof(value)));
    return value;
}

uint64_t all_ones(size_t width) {
    return width >= 8 ? ~uint64_t{0} : (uint64_t{1} << (8 * width)) - 1;
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const Access& access) {
    static constexpr const char* kNames[] = {"in", "out", "mmio read", "mmio write"};
    char text[96];
    std::snprintf(text, sizeof(text), "%s 0x%llx width %zu value 0x%llx",
                  kNames[static_cast<int>(access.kind)],
                  static_cast<unsigned long long>(access.address), access.width,
                  static_cast<unsigned long long>(access.value));
    return out << text;
}

// ---- TestIo ----

void TestIo::read(AccessKind kind, uint64_t address, std::span<std::byte> data) {
    Access access{.kind = kind, .address = address, .width = data.size(), .value = 0};
    access.value = on_read ? on_read(access) & all_ones(data.size()) : all_ones(data.size());
    std::memcpy(data.data(), &access.value, data.size());
    if (record) {
        const std::lock_guard lock(mutex_);
        accesses_.push_back(access);
    }
}

void TestIo::write(AccessKind kind, uint64_t address, std::span<const std::byte> data) {
    if (kind == AccessKind::kPioWrite && address == kDonePort) {
        vcpu->kick();
        return;
    }
    const Access access{
        .kind = kind, .address = address, .width = data.size(), .value = to_value(data)};
    if (record) {
        const std::lock_guard lock(mutex_);
        accesses_.push_back(access);
    }
    if (on_write) {
        on_write(access);
    }
}

void TestIo::pio_read(PioPort port, std::span<std::byte> data) {
    read(AccessKind::kPioRead, port.value(), data);
}
void TestIo::pio_write(PioPort port, std::span<const std::byte> data) {
    write(AccessKind::kPioWrite, port.value(), data);
}
void TestIo::mmio_read(Gpa address, std::span<std::byte> data) {
    read(AccessKind::kMmioRead, address.value(), data);
}
void TestIo::mmio_write(Gpa address, std::span<const std::byte> data) {
    write(AccessKind::kMmioWrite, address.value(), data);
}

std::optional<uint8_t> TestIo::acknowledge_extint() {
    return on_acknowledge ? on_acknowledge() : std::nullopt;
}

void TestIo::end_of_interrupt(uint8_t vector) {
    const std::lock_guard lock(mutex_);
    ended_interrupts_.push_back(vector);
}

std::vector<Access> TestIo::accesses() const {
    const std::lock_guard lock(mutex_);
    return accesses_;
}

std::vector<uint8_t> TestIo::ended_interrupts() const {
    const std::lock_guard lock(mutex_);
    return ended_interrupts_;
}

// ---- VcpuRun ----

VcpuRun::VcpuRun(Vcpu& vcpu)
    : vcpu_(vcpu), thread_([this] {
          if (auto prepared = prepare_vcpu_thread_signals(); !prepared) {
              outcome_ = {.stop = RunStop::kFault, .detail = prepared.error().message()};
          } else {
              vcpu_.attach_thread();
              outcome_ = vcpu_.run();
              vcpu_.detach_thread();
          }
          ended_.report();
      }) {}

VcpuRun::~VcpuRun() {
    if (thread_.joinable()) {
        kick_and_wait();
    }
}

RunOutcome VcpuRun::wait() {
    if (!ended_.wait()) {
        ADD_FAILURE() << "the run does not end";
        vcpu_.kick();
        if (!ended_.wait()) {
            std::fprintf(stderr, "a vCPU does not stop; giving up\n");
            std::abort();
        }
    }
    thread_.join();
    vcpu_.clear_stop();
    return outcome_;
}

RunOutcome VcpuRun::kick_and_wait() {
    vcpu_.kick();
    return wait();
}

// ---- Guest ----

Guest::Guest(const Accelerator& accelerator, PartitionConfig config) {
    auto ram = Mapping::anonymous(kRamSize, "test RAM");
    auto partition = accelerator.create_partition(config);
    if (!ram || !partition) {
        ADD_FAILURE() << (ram ? partition.error().message() : ram.error().message());
        return;
    }
    ram_ = std::move(*ram);
    partition_ = std::move(*partition);
    auto mapped = partition_->map_memory({Gpa(0), kRamSize}, ram_.data(), MemoryAccess::kReadWrite);
    if (!mapped) {
        ADD_FAILURE() << mapped.error().message();
        return;
    }
    for (uint32_t index = 0; index < config.vcpu_count; ++index) {
        ios_.push_back(std::make_unique<TestIo>());
        auto vcpu = partition_->create_vcpu(VcpuIndex(index), *ios_.back());
        if (!vcpu) {
            ADD_FAILURE() << vcpu.error().message();
            return;
        }
        ios_.back()->vcpu = vcpu->get();
        vcpus_.push_back(std::move(*vcpu));
    }
    ok_ = true;
}

Guest::~Guest() {
    destroy();
}

void Guest::destroy() {
    vcpus_.clear();
    partition_.reset();
}

void Guest::load(uint64_t address, const Code& code) {
    std::memcpy(ram() + address, code.data(), code.size());
}

VcpuRegisters real_mode_registers(uint16_t ip) {
    VcpuRegisters registers = reset_registers();
    registers.cs.base = 0;
    registers.cs.selector = 0;
    registers.rip = ip;
    registers.gpr[kRsp] = kStackTop;
    return registers;
}

VcpuRegisters protected_mode_registers(uint32_t eip) {
    VcpuRegisters registers = reset_registers();
    const SegmentRegister code{
        .base = 0, .limit = 0xffffffff, .selector = 0x08, .attributes = 0xc09b};
    const SegmentRegister data{
        .base = 0, .limit = 0xffffffff, .selector = 0x10, .attributes = 0xc093};
    registers.cs = code;
    registers.ds = registers.es = registers.fs = registers.gs = registers.ss = data;
    registers.cr0 |= 1;  // PE
    registers.idt = {.base = 0, .limit = 0};
    registers.rip = eip;
    registers.gpr[kRsp] = kStackTop;
    return registers;
}

void Guest::start_real_mode(const Code& code, size_t index) {
    load(kCode, code);
    set_registers(real_mode_registers(), index);
}

void Guest::start_protected_mode(const Code& code, size_t index) {
    load(kCode, code);
    set_registers(protected_mode_registers(), index);
}

VcpuRegisters Guest::run_to_done(size_t index) {
    VcpuRun run(vcpu(index));
    const RunOutcome outcome = run.wait();
    EXPECT_EQ(outcome.stop, RunStop::kKicked) << to_string(outcome.stop) << " " << outcome.detail;
    return registers(index);
}

VcpuRegisters Guest::registers(size_t index) {
    auto got = vcpu(index).registers();
    if (!got) {
        ADD_FAILURE() << got.error().message();
        return {};
    }
    return *got;
}

void Guest::set_registers(const VcpuRegisters& registers, size_t index) {
    const auto set = vcpu(index).set_registers(registers);
    EXPECT_TRUE(set) << set.error().message();
}

// ---- BackendTest ----

void BackendTest::SetUp() {
    if (const auto usable = accelerator().probe(); !usable) {
        GTEST_SKIP() << usable.error().message();
    }
    const auto installed = install_kick_handler();
    ASSERT_TRUE(installed) << installed.error().message();
}

std::string backend_name(const ::testing::TestParamInfo<const Accelerator*>& info) {
    return std::string(info.param->name());
}

}  // namespace halcyon::testing_support
