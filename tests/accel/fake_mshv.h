/// FakeMshv: answers in place of the mshv driver and its hypervisor, for tests of the backend
/// without either.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "accel/mshv/mshv_driver.h"
#include "accel/mshv/mshv_hypercalls.h"
#include "tests/accel/guest_fixture.h"

namespace halcyon::testing_support {

/// One partition at a time; a new one forgets the last. Keeps registers, states, memory regions and
/// properties; checks what it is asked as the driver does and fails the test where that would
/// refuse; runs no guest: what MSHV_RUN_VP returns is the test's script. All functions from any
/// thread; the public members before the threads that use them.
class FakeMshv final : public mshv::Driver {
public:
    enum class Kernel { kOld, kNew };
    explicit FakeMshv(Kernel kernel = Kernel::kNew) : kernel_(kernel) {}

    int open(const std::string& path) override;
    int ioctl(int fd, unsigned long request, void* argument) override;
    Result<Mapping> map_page(int vp_fd, mshv::VpMmapPage page) override;
    long run_vp(int vp_fd, mshv::Message& message, const uint32_t* stop_word) override;

    // ---- what it is to do ----

    /// -errno for open.
    int open_result = 0;
    bool register_page = true;
    /// errno for the next mapping of a page.
    int page_error = 0;
    /// Whether the page is valid when MSHV_RUN_VP returns a message.
    bool page_valid = true;
    uint16_t page_version = mshv::kRegisterPageVersion;
    /// Registers that this hypervisor does not have.
    std::set<mshv::RegisterName> missing_registers;
    uint64_t assignable_features = ~uint64_t{0};
    bool knows_assignable_features = true;
    bool intel = true;
    uint64_t xsave_size = 0x340;

    /// Done to the next hypercall of that code: the errno, the status (kSuccess: the hypervisor is
    /// not asked and nothing is written back), and how many elements of a list are done first.
    struct Fault {
        mshv::HypercallCode code;
        int error;
        mshv::HvStatus status = mshv::HvStatus::kSuccess;
        size_t done = 0;
    };
    std::deque<Fault> faults;
    /// -errno for the next ioctls of that number.
    std::multimap<unsigned long, int> ioctl_faults;

    /// What the next MSHV_RUN_VP of VP 0 do: fill in the message and return its result.
    using Step = std::function<long(mshv::Message&)>;
    std::deque<Step> script;

    /// Answers TRANSLATE_VIRTUAL_ADDRESS; identity without.
    std::function<mshv::TranslateOutput(const mshv::TranslateInput&)> on_translate;

    // ---- what it was asked ----

    [[nodiscard]] mshv::RegisterValue reg(mshv::RegisterName name, uint32_t vp = 0) {
        return vps_.at(vp).registers[name];
    }
    void set_reg(mshv::RegisterName name, uint64_t value, uint32_t vp = 0) {
        vps_.at(vp).registers[name] = {value, 0};
    }
    [[nodiscard]] mshv::RegisterPage* page(uint32_t vp = 0) { return vps_.at(vp).page; }
    [[nodiscard]] std::span<std::byte> state(mshv::VpStateType type, uint32_t vp = 0) {
        return vps_.at(vp).states.at(type);
    }
    /// The latest descriptor of that VP.
    [[nodiscard]] int vp_fd(uint32_t vp) const { return vps_.at(vp).fd; }
    [[nodiscard]] uint64_t property(mshv::PartitionProperty name) { return properties_[name]; }
    /// Registers in the order in which they were set, since the last call.
    std::vector<mshv::RegisterName> take_set_registers(uint32_t vp = 0) {
        return std::exchange(vps_.at(vp).set_order, {});
    }
    /// Hypercalls of that code since the last call.
    size_t take_calls(mshv::HypercallCode code) { return std::exchange(calls_[code], 0); }

    mshv::CreatePartition created{};
    bool initialized = false;
    std::vector<mshv::UserMemoryRegion> regions;
    std::vector<mshv::UserIrqEntry> routes;
    std::vector<mshv::UserIrqfd> irqfds;
    std::vector<mshv::UserIoeventfd> ioeventfds;
    std::vector<mshv::AssertInterruptInput> interrupts;
    std::vector<mshv::RegisterCpuidResultInput> cpuid_results;
    std::vector<mshv::TranslateInput> translations;

private:
    enum class Object { kDevice, kPartition, kVp };
    struct Vp {
        std::map<mshv::RegisterName, mshv::RegisterValue> registers;
        std::map<mshv::VpStateType, std::vector<std::byte>> states;
        std::vector<mshv::RegisterName> set_order;
        mshv::RegisterPage* page = nullptr;
        int fd = -1;
    };

    int make_fd(Object object, uint32_t vp = 0);
    int create_partition(const mshv::CreatePartition& argument);
    int create_vp(uint32_t index);
    int set_guest_memory(const mshv::UserMemoryRegion& region);
    int set_msi_routing(const std::byte* table);
    int vp_state(Vp& vp, mshv::GetSetVpState& argument, bool set);
    int hypercall(Object object, mshv::RootHypercall& call);
    int carry_out(Object object, mshv::RootHypercall& call);
    int refuse(mshv::RootHypercall& call, mshv::HvStatus status, size_t done = 0);
    int property_call(Object object, mshv::RootHypercall& call);
    int get_registers(mshv::RootHypercall& call, size_t limit);
    int set_registers(mshv::RootHypercall& call, size_t limit);
    int get_cpuid(mshv::RootHypercall& call);
    void import_page(Vp& vp);
    void export_page(Vp& vp);

    const Kernel kernel_;
    std::mutex mutex_;
    std::map<int, std::pair<Object, uint32_t>> objects_;
    std::map<uint32_t, Vp> vps_;
    std::map<mshv::PartitionProperty, uint64_t> properties_;
    std::map<mshv::HypercallCode, size_t> calls_;
};

// ---- messages, as a guest in flat protected mode causes them ----

/// An instruction's bytes, at kCode; the header says their length where the hypervisor does.
[[nodiscard]] mshv::InterceptHeader intercept_header(mshv::InterceptAccess access, size_t length);

template <typename Payload>
void fill_message(mshv::Message& message, mshv::MessageType type, const Payload& payload) {
    message = {};
    message.type = type;
    message.payload_size = sizeof(payload);
    std::memcpy(message.payload, &payload, sizeof(payload));
}
/// The step that returns this message.
template <typename Payload>
FakeMshv::Step message_step(mshv::MessageType type, const Payload& payload) {
    return [type, payload](mshv::Message& message) {
        fill_message(message, type, payload);
        return 0;
    };
}

[[nodiscard]] mshv::IoPortIntercept port_access(mshv::InterceptAccess access, uint16_t port,
                                                unsigned size, uint64_t rax);
/// `bytes` are the instruction.
[[nodiscard]] mshv::MemoryIntercept memory_access(mshv::InterceptAccess access, uint64_t gpa,
                                                  const Code& bytes);

}  // namespace halcyon::testing_support
