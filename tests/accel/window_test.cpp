// The window: at no instruction of the entry stub is a kick lost, on a real vCPU.
//
// A child process is the vCPU's thread. It calls the stub to enter KVM_RUN, without immediate_exit,
// or MSHV_RUN_VP, with a guest that spins. This process traces it, single-steps it to one
// instruction of the stub, and there does what a kick does: sets the stop word and sends the
// signal, which the child's handler handles before it executes another instruction. Then it lets
// the child go, and one of two events follows: the stub returns, or the guest runs although a stop
// is wanted: the kick is lost.
//
// The same is done with a handler that does nothing, as a program without the fix-up would have.
// There the kick must be lost at the instructions between the load of the stop word and the system
// call, and nowhere else: that is the window, and the proof that these tests can see it.
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "accel/run_entry.h"
#include "tests/accel/bare_vcpu.h"

namespace halcyon::testing_support {
namespace {

constexpr std::chrono::seconds kPatience{60};

enum class Handler { kFixUp, kPlain };

/// Does nothing: the signal only interrupts.
void plain_handler(int /*signal*/) {}

const auto kEntry = reinterpret_cast<uint64_t>(&halcyon_run_entry);
const auto kWindowBegin = reinterpret_cast<uint64_t>(halcyon_run_entry_window_begin);
const auto kWindowEnd = reinterpret_cast<uint64_t>(halcyon_run_entry_window_end);
const auto kAbort = reinterpret_cast<uint64_t>(halcyon_run_entry_abort);
const auto kEnd = reinterpret_cast<uint64_t>(halcyon_run_entry_end);

bool is_syscall_instruction(uint64_t address) {
    // The child's text is this process's.
    return std::memcmp(reinterpret_cast<const void*>(address), "\x0f\x05", 2) == 0;
}

/// What the two processes share.
struct Shared {
    std::atomic<uint32_t> stop_word;
    alignas(4096) std::byte guest_memory[BareVcpu::kMemorySize];
};

/// What followed a kick.
enum class Fate { kCameBack, kLost, kNothing };

/// The child, stopped at the first instruction of the stub.
class Tracee {
public:
    Tracee(const BareHypervisor& hypervisor, Handler handler, bool stop_word_set) {
        void* memory = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        shared_ = memory == MAP_FAILED ? nullptr : new (memory) Shared;
        if (shared_ == nullptr || ::pipe(pipe_) != 0) {
            ADD_FAILURE() << "no memory or no pipe";
            return;
        }
        shared_->stop_word = stop_word_set ? 1 : 0;
        pid_ = ::fork();
        if (pid_ == 0) {
            be_vcpu_thread(hypervisor, handler);
        }
        ok_ = pid_ > 0 && wait_for_stop(SIGSTOP) &&
              ::ptrace(PTRACE_SETOPTIONS, pid_, nullptr, PTRACE_O_EXITKILL) == 0 && reach_entry();
        EXPECT_TRUE(ok_) << "the child does not come to the stub";
    }
    Tracee(const Tracee&) = delete;
    Tracee& operator=(const Tracee&) = delete;
    ~Tracee() {
        if (pid_ > 0) {
            ::kill(pid_, SIGKILL);
            ::waitpid(pid_, nullptr, 0);
        }
        ::close(pipe_[0]);
        ::close(pipe_[1]);
        if (shared_ != nullptr) {
            ::munmap(shared_, sizeof(Shared));
        }
    }

    [[nodiscard]] bool ok() const { return ok_; }

    [[nodiscard]] user_regs_struct registers() const {
        user_regs_struct registers{};
        EXPECT_EQ(::ptrace(PTRACE_GETREGS, pid_, nullptr, &registers), 0);
        return registers;
    }
    [[nodiscard]] uint64_t pc() const { return registers().rip; }

    /// One instruction.
    bool step() {
        return ::ptrace(PTRACE_SINGLESTEP, pid_, nullptr, nullptr) == 0 && wait_for_stop(SIGTRAP);
    }
    /// Lets the child go on, with a signal or none (0).
    bool go(int signal = 0) {
        return ::ptrace(PTRACE_CONT, pid_, nullptr, static_cast<long>(signal)) == 0;
    }
    /// Until the next signal is about to be delivered: true when it is this one.
    bool wait_for_stop(int signal) {
        int status = 0;
        while (::waitpid(pid_, &status, 0) == pid_ && WIFSTOPPED(status)) {
            if (WSTOPSIG(status) != SIGSYS) {
                return WSTOPSIG(status) == signal;
            }
            go(SIGSYS);  // mshv-emulator's: how it gets the system call
        }
        return false;
    }
    /// The same signal, while the child runs free.
    void pass_on_sigsys() {
        int status = 0;
        if (::waitpid(pid_, &status, WNOHANG) == pid_ && WIFSTOPPED(status)) {
            EXPECT_EQ(WSTOPSIG(status), SIGSYS);
            go(WSTOPSIG(status));
        }
    }
    void send_kick_signal() { ::syscall(SYS_tgkill, pid_, pid_, kick_signal()); }
    void set_stop_word() { shared_->stop_word = 1; }

    /// A kick of the stopped child, whose handler runs before its next instruction; then the child
    /// runs free.
    bool kick_here() {
        const uint64_t here = pc();
        set_stop_word();
        send_kick_signal();
        // The pending signal is taken on the way back to user mode, before an instruction there.
        return go() && wait_for_stop(kick_signal()) && pc() == here && go(kick_signal());
    }

    [[nodiscard]] bool guest_runs() const {
        return std::atomic_ref(*reinterpret_cast<uint8_t*>(&shared_->guest_memory[BareVcpu::kFlag]))
                   .load() != 0;
    }
    /// The result of the stub; nothing when it has not returned by now.
    [[nodiscard]] std::optional<long> take_result(int timeout_ms) {
        pollfd wait{.fd = pipe_[0], .events = POLLIN, .revents = 0};
        long result = 0;
        if (::poll(&wait, 1, timeout_ms) == 1 &&
            ::read(pipe_[0], &result, sizeof(result)) == sizeof(result)) {
            return result;
        }
        return std::nullopt;
    }
    /// Waits for the first of the two events.
    [[nodiscard]] Fate fate(long* result = nullptr) {
        const auto deadline = std::chrono::steady_clock::now() + kPatience;
        while (std::chrono::steady_clock::now() < deadline) {
            pass_on_sigsys();
            if (const auto got = take_result(1)) {
                if (result != nullptr) {
                    *result = *got;
                }
                return Fate::kCameBack;
            }
            if (guest_runs()) {
                return Fate::kLost;
            }
        }
        return Fate::kNothing;
    }

private:
    /// The child's life. Never returns.
    [[noreturn]] void be_vcpu_thread(const BareHypervisor& hypervisor, Handler handler) {
        bool ready = prepare_vcpu_thread_signals().has_value() && install_kick_handler();
        if (handler == Handler::kPlain) {
            struct sigaction action {};
            action.sa_handler = plain_handler;
            ready = ready && ::sigaction(kick_signal(), &action, nullptr) == 0;
        }
        const auto vcpu = hypervisor.make(shared_->guest_memory);
        if (!ready || !vcpu->ok() || ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) {
            ::_exit(1);
        }
        const auto* word = reinterpret_cast<const uint32_t*>(&shared_->stop_word);
        ::kill(::getpid(), SIGSTOP);
        const long result = halcyon_run_entry(vcpu->fd(), vcpu->request(), vcpu->argument(), word);
        (void)!::write(pipe_[1], &result, sizeof(result));
        for (;;) {
            ::pause();
        }
    }

    bool reach_entry() {
        // From kill() to the stub it is some dozen instructions, more in an instrumented build.
        for (int i = 0; i < 100'000; ++i) {
            if (pc() == kEntry) {
                return true;
            }
            if (!step()) {
                return false;
            }
        }
        return false;
    }

    Shared* shared_ = nullptr;
    int pipe_[2] = {-1, -1};
    pid_t pid_ = -1;
    bool ok_ = false;
};

/// The instructions from the entry to the system call (word clear), or to the return of a refused
/// entry (word set), by executing them.
std::vector<uint64_t> path(const BareHypervisor& hypervisor, bool stop_word_set) {
    Tracee tracee(hypervisor, Handler::kFixUp, stop_word_set);
    std::vector<uint64_t> addresses;
    if (!tracee.ok()) {
        return addresses;
    }
    for (uint64_t pc = tracee.pc(); pc >= kEntry && pc < kEnd; pc = tracee.pc()) {
        addresses.push_back(pc);
        if (is_syscall_instruction(pc) || !tracee.step()) {
            break;
        }
    }
    return addresses;
}

class Window : public ::testing::TestWithParam<BareHypervisor> {
protected:
    void SetUp() override {
        if (const auto why = GetParam().unavailable()) {
            GTEST_SKIP() << *why;
        }
    }

    /// Kicks once at each instruction of a path; the addresses where the kick was lost. Everywhere
    /// else the stub must have returned, without having entered.
    std::set<uint64_t> lost_at(Handler handler, bool stop_word_set) {
        std::set<uint64_t> lost;
        const std::vector<uint64_t> addresses = path(GetParam(), stop_word_set);
        EXPECT_GE(addresses.size(), 4u);
        for (size_t i = 0; i < addresses.size(); ++i) {
            SCOPED_TRACE("instruction " + std::to_string(i) + " at entry + " +
                         std::to_string(addresses[i] - kEntry));
            Tracee tracee(GetParam(), handler, stop_word_set);
            if (!tracee.ok()) {
                break;
            }
            for (size_t steps = 0; steps < i; ++steps) {
                EXPECT_TRUE(tracee.step());
            }
            EXPECT_EQ(tracee.pc(), addresses[i]);
            EXPECT_TRUE(tracee.kick_here());
            long result = 0;
            switch (tracee.fate(&result)) {
                case Fate::kCameBack:
                    EXPECT_EQ(result, kRunEntryAborted);
                    EXPECT_FALSE(tracee.guest_runs());
                    break;
                case Fate::kLost:
                    lost.insert(addresses[i]);
                    // What was lost is the signal, not the thread: a second one gets it out.
                    tracee.send_kick_signal();
                    EXPECT_TRUE(tracee.wait_for_stop(kick_signal()) && tracee.go(kick_signal()));
                    EXPECT_EQ(tracee.take_result(
                                  static_cast<int>(std::chrono::milliseconds(kPatience).count())),
                              -EINTR);
                    break;
                case Fate::kNothing:
                    ADD_FAILURE() << "neither did the stub return nor does the guest run";
                    break;
            }
        }
        return lost;
    }
};

INSTANTIATE_TEST_SUITE_P(Hypervisor, Window, ::testing::ValuesIn(bare_hypervisors()),
                         [](const auto& hypervisor) { return hypervisor.param.name; });

TEST_P(Window, ThePathsCoverEveryInstructionOfTheStub) {
    std::set<uint64_t> addresses;
    for (const bool stop_word_set : {false, true}) {
        for (const uint64_t address : path(GetParam(), stop_word_set)) {
            addresses.insert(address);
        }
    }
    EXPECT_TRUE(addresses.contains(kEntry));
    EXPECT_TRUE(addresses.contains(kWindowBegin));
    EXPECT_TRUE(addresses.contains(kAbort));
    EXPECT_TRUE(is_syscall_instruction(kWindowEnd - 2));
    EXPECT_TRUE(addresses.contains(kWindowEnd - 2));
    // What remains is the one-byte return behind the system call, which has its own tests below.
    addresses.insert(kWindowEnd);
    EXPECT_EQ(*reinterpret_cast<const uint8_t*>(kWindowEnd), 0xc3);
    EXPECT_EQ(kWindowEnd + 1, kAbort);
    // Nowhere between two of them fits a third that no path has: none is longer than the longest
    // instruction of the stub, the 7 bytes that load the result of a refused entry.
    uint64_t previous = kEntry;
    for (const uint64_t address : addresses) {
        EXPECT_LE(address - previous, 7u);
        previous = address;
    }
    EXPECT_EQ(previous + 1, kEnd);  // the last is a return
}

TEST_P(Window, NoKickIsLostAtAnyInstructionBeforeTheGuestRuns) {
    EXPECT_EQ(lost_at(Handler::kFixUp, false), std::set<uint64_t>{});
}

TEST_P(Window, NoKickIsLostAtAnyInstructionOfARefusedEntry) {
    EXPECT_EQ(lost_at(Handler::kFixUp, true), std::set<uint64_t>{});
}

TEST_P(Window, WithoutTheFixUpKicksAreLostExactlyBetweenTheLoadAndTheSystemCall) {
    std::set<uint64_t> window;
    for (const uint64_t address : path(GetParam(), false)) {
        if (address > kWindowBegin && address < kWindowEnd) {
            window.insert(address);
        }
    }
    EXPECT_EQ(window.size(), 2u);  // the branch and the system call
    EXPECT_EQ(lost_at(Handler::kPlain, false), window);
    EXPECT_EQ(lost_at(Handler::kPlain, true), std::set<uint64_t>{});
}

/// The guest runs; a kick now is seen by the kernel, and the handler, which then finds the program
/// counter behind the system call, must let the kernel's result through.
TEST_P(Window, AKickAfterTheSystemCallBeganReturnsTheKernelsResult) {
    for (const Handler handler : {Handler::kFixUp, Handler::kPlain}) {
        Tracee tracee(GetParam(), handler, false);
        ASSERT_TRUE(tracee.ok());
        ASSERT_TRUE(tracee.go());
        ASSERT_EQ(tracee.fate(), Fate::kLost);  // that is, it runs; nobody has kicked yet
        tracee.set_stop_word();
        tracee.send_kick_signal();
        ASSERT_TRUE(tracee.wait_for_stop(kick_signal()));
        EXPECT_EQ(tracee.pc(), kWindowEnd);
        EXPECT_EQ(static_cast<long>(tracee.registers().rax), -EINTR);
        ASSERT_TRUE(tracee.go(kick_signal()));
        EXPECT_EQ(
            tracee.take_result(static_cast<int>(std::chrono::milliseconds(kPatience).count())),
            -EINTR);
    }
}

/// A signal of an earlier kick can be pending while the word is clear already: the entry is
/// refused, and the next one enters.
TEST_P(Window, AStraySignalInTheWindowOnlyRefusesTheEntry) {
    Tracee tracee(GetParam(), Handler::kFixUp, false);
    ASSERT_TRUE(tracee.ok());
    while (tracee.pc() != kWindowEnd - 2) {
        ASSERT_TRUE(tracee.step());
    }
    tracee.send_kick_signal();
    ASSERT_TRUE(tracee.go() && tracee.wait_for_stop(kick_signal()) && tracee.go(kick_signal()));
    long result = 0;
    ASSERT_EQ(tracee.fate(&result), Fate::kCameBack);
    EXPECT_EQ(result, kRunEntryAborted);
}

}  // namespace
}  // namespace halcyon::testing_support
