/// How long it takes from asking vCPUs to stop until all have: Machine::pause in this process, and
/// beside it, in turns, the physical floor: as many plain threads, each signalled (tgkill) and
/// acknowledging with a futex wake.
///
///     kick_latency ACCELERATOR FIRMWARE VCPUS SECONDS idle|busy
///
/// "busy" says that the firmware keeps all vCPUs running: the plain threads then spin, else they
/// sleep. Prints one JSON object, in microseconds.

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "accel/accelerator.h"
#include "bench/blocking_loop.h"
#include "bench/statistics.h"
#include "machine/machine.h"

namespace halcyon::bench {
namespace {

/// How long the guest runs between two stops, and before the first one of all.
constexpr useconds_t kRunMicroseconds = 300;
constexpr useconds_t kBootMicroseconds = 300000;
/// Many busy vCPUs on few processors take long to get going again.
constexpr size_t kFewestStops = 5;

class NullObserver final : public MachineObserver {
public:
    void on_stopped() override {}
    void on_resumed() override {}
    void on_reset(ShutdownCause) override {}
    void on_powerdown() override {}
    void on_shutdown(ShutdownCause) override {}
    void on_ended() override {}
};

/// A Machine whose asynchronous requests are waited for.
class WaitedMachine {
public:
    Result<void> create(const std::string& accelerator, const std::string& firmware,
                        uint32_t vcpus) {
        MachineConfig config;
        config.accelerators = {find_accelerator(accelerator)};
        if (config.accelerators[0] == nullptr) {
            return Error("no accelerator " + accelerator);
        }
        config.vcpu_count = vcpus;
        config.ram_size = 16_MiB;
        config.firmware_path = firmware;
        machine_ = TRY(Machine::create(std::move(config), loop_, observer_));
        return wait([this](Machine::Done done) { machine_->start(std::move(done)); });
    }
    Result<void> pause() {
        return wait([this](Machine::Done done) { machine_->pause(std::move(done)); });
    }
    Result<void> resume() {
        return wait([this](Machine::Done done) { machine_->resume(std::move(done)); });
    }
    Result<void> quit() {
        return wait([this](Machine::Done done) {
            machine_->quit(ShutdownCause::kHostQmpQuit, std::move(done));
        });
    }
    [[nodiscard]] uint64_t rekicks() const {
        uint64_t sum = 0;
        for (const VcpuInfo& info : machine_->vcpus()) {
            sum += info.rekicks;
        }
        return sum;
    }

private:
    template <typename Request>
    Result<void> wait(Request request) {
        bool finished = false;
        Result<void> outcome;
        request([&](Result<void> result) {
            outcome = std::move(result);
            finished = true;
        });
        loop_.run_until(finished);
        return outcome;
    }

    BlockingLoop loop_;
    NullObserver observer_;
    std::unique_ptr<Machine> machine_;
};

/// The floor: threads that do nothing, or spin as a busy guest does, and leave as soon as a signal
/// comes.
class PlainThreads {
public:
    PlainThreads(uint32_t count, bool busy) : count_(count), busy_(busy) {
        struct sigaction action {};
        action.sa_handler = [](int) {};
        ::sigaction(SIGUSR1, &action, nullptr);
        for (uint32_t i = 0; i < count; ++i) {
            threads_.emplace_back([this] { body(); });
        }
        wait_for(started_, count);
    }
    /// Only while stopped.
    ~PlainThreads() {
        end_ = true;
        release();
        for (std::thread& thread : threads_) {
            thread.join();
        }
    }

    /// All stop flags (one will do: nobody has anything to save), all signals, all
    /// acknowledgements.
    void stop() {
        const uint32_t before = acknowledged_.load();
        stop_wanted_.store(true);
        for (const std::atomic<pid_t>& id : ids_) {
            if (id.load() != 0) {
                ::syscall(SYS_tgkill, ::getpid(), id.load(), SIGUSR1);
            }
        }
        wait_for(acknowledged_, before + count_);
    }
    void release() {
        stop_wanted_.store(false);
        generation_.fetch_add(1);
        generation_.notify_all();
    }

private:
    static void wait_for(std::atomic<uint32_t>& counter, uint32_t value) {
        for (uint32_t seen = counter.load(); seen != value; seen = counter.load()) {
            counter.wait(seen);
        }
    }

    void body() {
        // The signal is blocked but inside ppoll, so that it cannot come just before it.
        sigset_t blocked;
        ::sigfillset(&blocked);
        ::pthread_sigmask(SIG_SETMASK, &blocked, nullptr);
        sigset_t open = blocked;
        ::sigdelset(&open, SIGUSR1);
        if (busy_) {
            ::pthread_sigmask(SIG_SETMASK, &open, nullptr);
        }
        ids_[next_.fetch_add(1)] = ::gettid();
        started_.fetch_add(1);
        started_.notify_all();
        while (true) {
            while (!stop_wanted_.load(std::memory_order_relaxed)) {
                if (!busy_) {
                    ::ppoll(nullptr, 0, nullptr, &open);
                }
            }
            const uint32_t generation = generation_.load();
            acknowledged_.fetch_add(1);
            acknowledged_.notify_all();
            generation_.wait(generation);
            if (end_) {
                return;
            }
        }
    }

    const uint32_t count_;
    const bool busy_;
    std::atomic<bool> end_{false};
    std::atomic<bool> stop_wanted_{false};
    std::atomic<uint32_t> started_{0};
    std::atomic<uint32_t> next_{0};
    std::atomic<uint32_t> acknowledged_{0};
    std::atomic<uint32_t> generation_{0};
    std::array<std::atomic<pid_t>, kMaxVcpus> ids_{};
    std::vector<std::thread> threads_;
};

Result<void> run(const std::string& accelerator, const std::string& firmware, uint32_t vcpus,
                 double seconds, bool busy) {
    WaitedMachine machine;
    TRY(machine.create(accelerator, firmware, vcpus));
    ::usleep(kBootMicroseconds);
    TRY(machine.pause());
    PlainThreads threads(vcpus, busy);
    threads.stop();

    std::vector<double> machine_times, floor_times;
    const Clock::time_point start = Clock::now();
    while (microseconds_since(start) < seconds * 1e6 || machine_times.size() < kFewestStops) {
        TRY(machine.resume());
        ::usleep(kRunMicroseconds);
        const Clock::time_point kicked = Clock::now();
        TRY(machine.pause());
        machine_times.push_back(microseconds_since(kicked));

        threads.release();
        ::usleep(kRunMicroseconds);
        const Clock::time_point signalled = Clock::now();
        threads.stop();
        floor_times.push_back(microseconds_since(signalled));
    }
    const uint64_t rekicks = machine.rekicks();
    const Clock::time_point quit = Clock::now();
    TRY(machine.quit());
    const double quit_time = microseconds_since(quit);
    std::printf(
        "{\"median_us\": %.1f, \"p999_us\": %.1f, \"floor_median_us\": %.1f, "
        "\"floor_p999_us\": %.1f, \"quit_us\": %.1f, \"rekicks\": %llu, \"count\": %zu}\n",
        percentile(machine_times, 0.5), percentile(machine_times, 0.999),
        percentile(floor_times, 0.5), percentile(floor_times, 0.999), quit_time,
        static_cast<unsigned long long>(rekicks), machine_times.size());
    return {};
}

}  // namespace
}  // namespace halcyon::bench

int main(int argc, char** argv) {
    if (argc != 6) {
        std::fprintf(stderr, "usage: kick_latency ACCELERATOR FIRMWARE VCPUS SECONDS idle|busy\n");
        return 2;
    }
    const auto result =
        halcyon::bench::run(argv[1], argv[2], static_cast<uint32_t>(std::atol(argv[3])),
                            std::atof(argv[4]), std::string(argv[5]) == "busy");
    if (!result) {
        std::fprintf(stderr, "kick_latency: %s\n", result.error().message().c_str());
        return 1;
    }
    return 0;
}
