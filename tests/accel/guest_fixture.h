/// What the conformance suite needs to run tiny guests on any backend.
#pragma once

#include <chrono>
#include <functional>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <optional>
#include <semaphore>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "accel/accelerator.h"
#include "accel/guest_io.h"
#include "accel/run_entry.h"
#include "base/mapping.h"

namespace halcyon::testing_support {

/// How long anything that must happen may take before the test fails: far beyond what a loaded
/// machine under a sanitizer needs.
inline constexpr std::chrono::seconds kPatience{60};

/// Guest-physical layout: RAM from 0, then a hole with nothing behind it.
inline constexpr uint64_t kRamSize = 0xa0000;
inline constexpr uint64_t kHole = 0xa0000;
inline constexpr uint16_t kCode = 0x1000;
inline constexpr uint16_t kData = 0x2000;
inline constexpr uint16_t kHandler = 0x3000;
inline constexpr uint16_t kStackTop = 0x8000;
/// A byte written here ends the run: the device kicks the vCPU from within.
inline constexpr uint16_t kDonePort = 0xf4;

/// Machine code, with the assembly in comments beside it.
using Code = std::vector<uint8_t>;

enum class AccessKind { kPioRead, kPioWrite, kMmioRead, kMmioWrite };

struct Access {
    AccessKind kind;
    uint64_t address;
    size_t width;
    /// Written by the guest, or given to it.
    uint64_t value;
    friend bool operator==(const Access&, const Access&) = default;
};
std::ostream& operator<<(std::ostream& out, const Access& access);

/// The devices of one vCPU: records what it does, answers what the test says.
class TestIo final : public GuestIo {
public:
    /// Gives the value of a read; all ones without. On the vCPU's thread.
    std::function<uint64_t(const Access&)> on_read;
    /// Sees each write, but those to the done port. On the vCPU's thread.
    std::function<void(const Access&)> on_write;
    /// The 8259. Nothing without.
    std::function<std::optional<uint8_t>()> on_acknowledge;
    /// Whom the done port stops.
    Vcpu* vcpu = nullptr;
    /// Off for guests that make millions of accesses.
    bool record = true;

    void pio_read(PioPort port, std::span<std::byte> data) override;
    void pio_write(PioPort port, std::span<const std::byte> data) override;
    void mmio_read(Gpa address, std::span<std::byte> data) override;
    void mmio_write(Gpa address, std::span<const std::byte> data) override;
    std::optional<uint8_t> acknowledge_extint() override;
    void end_of_interrupt(uint8_t vector) override;

    /// What was recorded so far, without the done port.
    [[nodiscard]] std::vector<Access> accesses() const;
    [[nodiscard]] std::vector<uint8_t> ended_interrupts() const;

private:
    void read(AccessKind kind, uint64_t address, std::span<std::byte> data);
    void write(AccessKind kind, uint64_t address, std::span<const std::byte> data);

    mutable std::mutex mutex_;
    std::vector<Access> accesses_;
    std::vector<uint8_t> ended_interrupts_;
};

/// An event that one thread reports and another waits for.
class Event {
public:
    void report() { semaphore_.release(); }
    /// False when it did not come in time.
    [[nodiscard]] bool wait() { return semaphore_.try_acquire_for(kPatience); }

private:
    std::counting_semaphore<> semaphore_{0};
};

/// One `Vcpu::run` on a thread of its own, which is prepared and attached as a vCPU's must be.
class VcpuRun {
public:
    explicit VcpuRun(Vcpu& vcpu);
    VcpuRun(const VcpuRun&) = delete;
    VcpuRun& operator=(const VcpuRun&) = delete;
    /// Kicks and waits when nobody has waited yet.
    ~VcpuRun();

    /// The outcome, and the thread is gone; the stop word is cleared. Fails the test, and kicks,
    /// when the run does not end in time.
    RunOutcome wait();
    /// Kicks from the calling thread, then as `wait`.
    RunOutcome kick_and_wait();

private:
    Vcpu& vcpu_;
    RunOutcome outcome_;
    Event ended_;
    std::thread thread_;
};

/// One partition with RAM and vCPUs.
class Guest {
public:
    /// Fails the test when the backend cannot make it.
    explicit Guest(const Accelerator& accelerator, PartitionConfig config = {});
    ~Guest();

    /// False after a failed construction; then nothing else may be called.
    [[nodiscard]] bool ok() const { return ok_; }
    [[nodiscard]] Partition& partition() { return *partition_; }
    [[nodiscard]] Vcpu& vcpu(size_t index = 0) { return *vcpus_.at(index); }
    [[nodiscard]] TestIo& io(size_t index = 0) { return *ios_.at(index); }
    /// RAM as the host sees it, from guest-physical address 0.
    [[nodiscard]] std::byte* ram() { return ram_.data(); }

    void load(uint64_t address, const Code& code);
    template <typename T>
    [[nodiscard]] T read(uint64_t address) {
        T value;
        std::memcpy(&value, ram() + address, sizeof(value));
        return value;
    }
    template <typename T>
    void write(uint64_t address, T value) {
        std::memcpy(ram() + address, &value, sizeof(value));
    }

    /// Loads `code` at kCode and sets the vCPU to run it: real mode, all segments at 0, or flat
    /// 32-bit protected mode without interrupts.
    void start_real_mode(const Code& code, size_t index = 0);
    void start_protected_mode(const Code& code, size_t index = 0);
    /// Runs until the guest writes to the done port, and gives the registers then.
    VcpuRegisters run_to_done(size_t index = 0);
    [[nodiscard]] VcpuRegisters registers(size_t index = 0);
    void set_registers(const VcpuRegisters& registers, size_t index = 0);
    /// Ends the guest before its memory and devices; the destructor does it too.
    void destroy();

private:
    bool ok_ = false;
    Mapping ram_;
    std::vector<std::unique_ptr<TestIo>> ios_;
    std::unique_ptr<Partition> partition_;
    std::vector<std::unique_ptr<Vcpu>> vcpus_;
};

[[nodiscard]] VcpuRegisters real_mode_registers(uint16_t ip = kCode);
[[nodiscard]] VcpuRegisters protected_mode_registers(uint32_t eip = kCode);

/// A test that runs on one backend; skips with the backend's own reason where it is not usable.
class BackendTest : public ::testing::TestWithParam<const Accelerator*> {
protected:
    void SetUp() override;
    [[nodiscard]] const Accelerator& accelerator() const { return *GetParam(); }
};

[[nodiscard]] std::string backend_name(const ::testing::TestParamInfo<const Accelerator*>& info);

/// Runs every test of `Suite` on every backend of this build.
#define FOR_EVERY_BACKEND(Suite)                                                                \
    INSTANTIATE_TEST_SUITE_P(Backend, Suite,                                                    \
                             ::testing::ValuesIn(accelerators().begin(), accelerators().end()), \
                             backend_name)

}  // namespace halcyon::testing_support
