#include "machine/machine.h"

#include <unistd.h>

#include <algorithm>
#include <string>
#include <utility>

#include "accel/run_entry.h"
#include "base/log.h"
#include "machine/pc_board.h"
#include "machine/trace_events.h"

namespace halcyon {

namespace {

/// The first accelerator that works here; the Error holds every one's reason.
Result<const Accelerator*> choose_accelerator(const std::vector<const Accelerator*>& candidates) {
    std::string reasons;
    for (const Accelerator* candidate : candidates) {
        auto usable = candidate->probe();
        if (usable) {
            return candidate;
        }
        reasons += (reasons.empty() ? "" : "; ") + std::string(candidate->name()) + ": " +
                   usable.error().message();
    }
    return Error("-accel: no accelerator works here (" + reasons + ")", ErrorCode::kUnsupported);
}

Result<void> check_ram_size(uint64_t size) {
    const uint64_t host = static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
                          static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
    if (size < 1_MiB || size % kPageSize != 0) {
        return Error("-m: guest memory of " + std::to_string(size) +
                         " bytes does not work: it takes at least 1M, in whole pages of 4K",
                     ErrorCode::kInvalidArgument);
    }
    if (size > host) {
        return Error("-m: guest memory of " + std::to_string(size >> 20) +
                         " MiB is more than this host has (" + std::to_string(host >> 20) + " MiB)",
                     ErrorCode::kInvalidArgument);
    }
    return {};
}

}  // namespace

Machine::Machine(MachineConfig config, EventLoop& loop, MachineObserver& observer)
    : config_(std::move(config)),
      loop_(loop),
      observer_(observer),
      quit_timer_(loop.make_timer([this] { on_quit_timeout(); })),
      alive_(std::make_shared<bool>(true)),
      clock_(loop),
      power_gate_([this](PowerRequest) { on_power_request(); }),
      vcpus_(loop) {
    run_state_ = config_.preconfig ? RunState::kPreconfig : RunState::kPrelaunch;
}

Machine::~Machine() {
    if (!ended_) {
        vcpus_.ask_all(VcpuGoal::kEnd, [] {});
        vcpus_.join_all();
    }
}

Result<std::unique_ptr<Machine>> Machine::create(MachineConfig config, EventLoop& loop,
                                                 MachineObserver& observer) {
    std::unique_ptr<Machine> machine(new Machine(std::move(config), loop, observer));
    if (machine->config_.board == BoardKind::kPc) {
        TRY(machine->build_pc());
    }
    return machine;
}

Result<void> Machine::build_pc() {
    TRY(check_ram_size(config_.ram_size));
    accelerator_ = TRY(choose_accelerator(config_.accelerators));
    partition_ = TRY(accelerator_->create_partition(
        {.vcpu_count = config_.vcpu_count, .local_apic = true, .cpu_model = config_.cpu_model}));
    board_ = TRY(PcBoard::create(config_, *partition_, memory_, clock_, power_gate_,
                                 [this](std::chrono::seconds offset) { on_rtc_set(offset); }));
    return launch_vcpus();
}

Result<void> Machine::launch_vcpus() {
    TRY(install_kick_handler());
    for (uint32_t i = 0; i < config_.vcpu_count; ++i) {
        auto thread = std::make_unique<VcpuThread>(
            VcpuIndex(i), board_->io(), power_gate_,
            [this](VcpuIndex index, const RunOutcome& outcome) { on_vcpu_exited(index, outcome); },
            config_.on_vcpu_thread_start);
        TRY(thread->launch(*partition_));
        vcpus_.add(std::move(thread));
    }
    return {};
}

std::vector<VcpuInfo> Machine::vcpus() {
    std::vector<VcpuInfo> infos;
    for (const auto& thread : vcpus_.threads()) {
        VcpuInfo info{.index = thread->index(),
                      .thread_id = thread->thread_id(),
                      .state = to_string(thread->state()),
                      .kicks = thread->kicks(),
                      .rekicks = thread->rekicks(),
                      .counters = thread->counters()};
        if (info.counters != nullptr) {
            info.guest_time = tick_rate_.to_time(info.counters->guest_time.ticks());
        }
        infos.push_back(info);
    }
    return infos;
}

std::optional<CpuidRegisters> Machine::cpuid(uint32_t leaf, uint32_t subleaf) const {
    if (ended_ || vcpus_.threads().empty()) {
        return std::nullopt;
    }
    return vcpus_.threads().front()->vcpu().cpuid(leaf, subleaf);
}

Result<void> Machine::inject_nmi() {
    if (ended_) {
        return Error("the machine has ended", ErrorCode::kNotActive);
    }
    // Intel SDM 3A 11.11: physical destination in address bits 12-19, delivery mode NMI (100b) in
    // data bits 8-10.
    for (const auto& thread : vcpus_.threads()) {
        TRY(partition_->signal_msi(
            {.address = 0xfee00000 | static_cast<uint64_t>(thread->index().value()) << 12,
             .data = 4 << 8}));
    }
    return {};
}

void Machine::prove_vcpus_alive(std::function<void()> done) {
    if (!ending_) {
        vcpus_.prove_alive(std::move(done));
    }
}

// -- requests, one at a time ----------------------------------------------------------------------

void Machine::enqueue(std::function<void()> begin, Done done) {
    if (ending_) {
        done(Error("the machine is ending", ErrorCode::kNotActive));
        return;
    }
    requests_.push_back({std::move(begin), std::move(done)});
    run_requests();
}

// A loop and not a recursion: a client may pipeline any number of requests that finish at once.
void Machine::run_requests() {
    if (std::exchange(in_run_requests_, true)) {
        return;
    }
    while (!requests_.empty() && requests_.front().begin) {
        const auto begin = std::exchange(requests_.front().begin, nullptr);
        begin();
    }
    in_run_requests_ = false;
}

void Machine::finish(Result<void> result) {
    // The entry stays while `done` runs, so that a request made from inside it waits its turn.
    const Done done = std::exchange(requests_.front().done, nullptr);
    done(std::move(result));
    if (!requests_.empty()) {
        requests_.pop_front();
        run_requests();
    }
}

void Machine::abandon_requests() {
    auto requests = std::exchange(requests_, {});
    for (Request& request : requests) {
        if (request.done) {
            request.done(Error("the machine is ending", ErrorCode::kNotActive));
        }
    }
}

void Machine::start(Done done) {
    for (const auto& thread : vcpus_.threads()) {
        thread->wait_until_parked();
    }
    enqueue(
        [this] {
            if (run_state_ == RunState::kPreconfig || config_.start_paused) {
                finish({});
            } else {
                run_guest();
            }
        },
        std::move(done));
}

void Machine::exit_preconfig(Done done) {
    const auto too_late = [] {
        return Error("The command is permitted only before machine initialization");
    };
    if (run_state_ != RunState::kPreconfig) {
        done(too_late());  // now, and not when a dump under way ends
        return;
    }
    enqueue(
        [this, too_late] {
            if (run_state_ != RunState::kPreconfig) {
                finish(too_late());
                return;
            }
            set_run_state(RunState::kPrelaunch);
            if (config_.start_paused) {
                finish({});
            } else {
                run_guest();
            }
        },
        std::move(done));
}

void Machine::pause(Done done) {
    if (dumping_) {
        done(dump_in_process());
        return;
    }
    enqueue(
        [this] {
            if (run_state_ != RunState::kRunning) {
                finish({});
                return;
            }
            park_guest([this] {
                stop_in(RunState::kPaused);
                finish({});
            });
        },
        std::move(done));
}

void Machine::resume(Done done) {
    if (dumping_) {
        done(dump_in_process());
        return;
    }
    enqueue(
        [this] {
            switch (run_state_) {
                case RunState::kRunning:
                    finish({});
                    return;
                case RunState::kShutdown:
                case RunState::kInternalError:
                    finish(Error("Resetting the Virtual Machine is required"));
                    return;
                case RunState::kPreconfig:
                    finish(
                        Error("The command 'cont' is permitted only after machine initialization "
                              "has completed"));
                    return;
                case RunState::kPrelaunch:
                case RunState::kPaused:
                case RunState::kSaveVm:
                    run_guest();
                    return;
            }
        },
        std::move(done));
}

void Machine::reset(Done done) {
    if (dumping_) {
        done(dump_in_process());
        return;
    }
    enqueue(
        [this] {
            if (config_.no_reboot) {  // whoever asks, as in QEMU
                if (config_.no_shutdown) {
                    handle_shutdown(ShutdownCause::kHostQmpSystemReset);
                } else {
                    quit(ShutdownCause::kHostQmpSystemReset,
                         std::exchange(requests_.front().done, nullptr));
                }
                return;
            }
            const bool running = run_state_ == RunState::kRunning;
            auto reset = [this, running] {
                reset_parked(ShutdownCause::kHostQmpSystemReset, running);
            };
            if (running) {
                park_guest(std::move(reset));
            } else {
                reset();
            }
        },
        std::move(done));
}

void Machine::power_button() {
    if (board_) {
        board_->press_power_button();
    }
    observer_.on_powerdown();
}

// -- parking and running --------------------------------------------------------------------------

void Machine::park_guest(std::function<void()> next) {
    vcpus_.ask_all(VcpuGoal::kPause, [this, next = std::move(next)] {
        clock_.set_running(false);
        if (partition_) {
            if (auto frozen = partition_->set_time_frozen(true); frozen) {
                time_frozen_ = true;
            } else {
                LOG_GUEST("the guest's clock runs on while paused: {}", frozen.error().message());
            }
        }
        next();
    });
}

void Machine::run_guest() {
    if (time_frozen_) {
        if (auto thawed = partition_->set_time_frozen(false); !thawed) {
            if (run_state_ == RunState::kRunning) {
                stop_in(RunState::kPaused);  // it was to run on, and does not
            }
            finish(std::move(thawed).error().with_context("cannot restart the guest's clock"));
            return;
        }
        time_frozen_ = false;
    }
    clock_.set_running(true);
    const bool was_running = run_state_ == RunState::kRunning;
    set_run_state(RunState::kRunning);
    if (!was_running) {
        observer_.on_resumed();
    }
    vcpus_.ask_all(VcpuGoal::kRun, [this] { finish({}); });
}

void Machine::set_run_state(RunState state) {
    TRACE(trace::runstate_set, "current_run_state {} new_state {}", to_string(run_state_),
          to_string(state));
    if (std::exchange(run_state_, state) != state) {
        observer_.on_run_state_changed(state);
    }
}

void Machine::stop_in(RunState state) {
    const bool was_running = run_state_ == RunState::kRunning;
    set_run_state(state);
    if (was_running) {
        observer_.on_stopped();
    }
}

void Machine::reset_parked(ShutdownCause cause, bool run_on) {
    Result<void> result;
    if (board_) {
        result = board_->reset();
    }
    for (const auto& thread : vcpus_.threads()) {
        if (result) {
            result = thread->vcpu().reset();
        }
    }
    power_gate_.clear();
    if (!result) {
        spdlog::error("the machine could not be reset: {}", result.error().message());
        stop_in(RunState::kInternalError);
        finish(std::move(result));
        return;
    }
    observer_.on_reset(cause);
    if (run_on) {
        run_guest();
        return;
    }
    if (run_state_ != RunState::kPreconfig) {
        set_run_state(RunState::kPrelaunch);
    }
    finish({});
}

// -- what the guest does to itself ----------------------------------------------------------------

void Machine::post(std::function<void()> task) {
    loop_.post([alive = std::weak_ptr(alive_), task = std::move(task)] {
        if (!alive.expired()) {
            task();
        }
    });
}

// A guest may set its clock all the time: one task at a time waits for the main thread.
void Machine::on_rtc_set(std::chrono::seconds offset) {
    rtc_offset_.store(offset);
    if (!rtc_change_posted_.exchange(true)) {
        post([this] {
            rtc_change_posted_.store(false);
            observer_.on_rtc_changed(rtc_offset_.load());
        });
    }
}

void Machine::on_power_request() {
    post([this] { handle_power_request(); });
}

void Machine::on_vcpu_exited(VcpuIndex index, const RunOutcome& outcome) {
    switch (outcome.stop) {
        case RunStop::kTripleFault:
            LOG_GUEST("vCPU {} triple-faulted", index.value());
            [[fallthrough]];
        case RunStop::kReset:
            power_gate_.request(PowerRequest::kReset);
            return;
        case RunStop::kPowerOff:
            power_gate_.request(PowerRequest::kShutdown);
            return;
        case RunStop::kFault:
            post([this, index, detail = outcome.detail] { handle_vcpu_fault(index, detail); });
            return;
        case RunStop::kHalted:  // parked until a reset: it waits with interrupts off
        case RunStop::kKicked:
            return;
    }
}

void Machine::handle_power_request() {
    if (ending_) {
        return;
    }
    enqueue(
        [this] {
            // A reset may have overtaken the request, and a new one may have come since.
            const PowerRequest request = power_gate_.wanted();
            TRACE(trace::guest_power_request, "{}",
                  request == PowerRequest::kShutdown ? "shutdown"
                  : request == PowerRequest::kReset  ? "reset"
                                                     : "none");
            if (request == PowerRequest::kNone) {
                finish({});
            } else if (request == PowerRequest::kShutdown) {
                handle_shutdown(ShutdownCause::kGuestShutdown);
            } else if (config_.no_reboot) {
                handle_shutdown(ShutdownCause::kGuestReset);
            } else {
                // `stop` may have come in between; then the guest is parked already, and stays so.
                const bool running = run_state_ == RunState::kRunning;
                park_guest([this, running] { reset_parked(ShutdownCause::kGuestReset, running); });
            }
        },
        [](const Result<void>&) {});
}

void Machine::handle_shutdown(ShutdownCause cause) {
    if (!config_.no_shutdown) {
        begin_end(cause);
        return;
    }
    park_guest([this, cause] {
        observer_.on_shutdown(cause);
        stop_in(RunState::kShutdown);
        finish({});
    });
}

void Machine::handle_vcpu_fault(VcpuIndex index, const std::string& detail) {
    const LogScope log_scope("VCPU", std::to_string(index.value()));
    LOG_GUEST("vCPU {} cannot go on: {}", index.value(), detail);
    if (ending_) {
        return;
    }
    enqueue(
        [this, index] {
            if (run_state_ != RunState::kRunning) {
                finish({});
                return;
            }
            park_guest([this, index] {
                if (vcpus_.threads()[index.value()]->state() != VcpuState::kExited) {
                    run_guest();  // a reset has overtaken the fault
                    return;
                }
                stop_in(RunState::kInternalError);
                finish({});
            });
        },
        [](const Result<void>&) {});
}

// -- the end --------------------------------------------------------------------------------------

void Machine::quit(ShutdownCause cause, Done done) {
    if (ended_) {
        done({});
        return;
    }
    quit_waiters_.push_back(std::move(done));
    if (!ending_) {
        begin_end(cause);
    } else if (quit_waiters_.size() == 1) {
        quit_timer_->arm(loop_.now() + config_.quit_timeout);
    }
}

void Machine::begin_end(ShutdownCause cause) {
    ending_ = true;
    end_cause_ = cause;
    observer_.on_ending(cause);
    abandon_requests();
    // Also when the guest ended itself and nobody waits: a vCPU that does not leave is to be seen
    // in the log.
    quit_timer_->arm(loop_.now() + config_.quit_timeout);
    for (const auto& task : tasks_) {
        task->cancel();
    }
    vcpus_.ask_all(VcpuGoal::kEnd, [this] {
        vcpus_ended_ = true;
        try_finish_end();
    });
}

size_t Machine::awaited_by_end() const {
    return ended_ ? 0 : vcpus_.count_unacknowledged() + tasks_.size();
}

void Machine::on_quit_timeout() {
    const std::string stuck = vcpus_.describe_unacknowledged();
    if (stuck.empty() && tasks_.empty()) {
        return;  // the last acknowledgement is on its way through the loop
    }
    const std::string what = (stuck.empty() ? "the file of '" + tasks_.front()->name() +
                                                  "' has not taken what was written"
                                            : stuck + " has not left the hypervisor") +
                             " after " + std::to_string(config_.quit_timeout.count()) + " ms";
    spdlog::error("{}", what);
    complete_quits(Error(what + "; the machine ends when it does"));
}

void Machine::try_finish_end() {
    if (vcpus_ended_ && tasks_.empty() && !ended_) {
        finish_end();
    }
}

void Machine::finish_end() {
    quit_timer_->cancel();
    vcpus_.join_all();
    clock_.set_running(false);
    board_.reset();
    partition_.reset();
    ended_ = true;
    observer_.on_shutdown(end_cause_);
    observer_.on_ended();
    complete_quits({});
}

void Machine::complete_quits(const Result<void>& result) {
    for (const Done& done : std::exchange(quit_waiters_, {})) {
        done(result);
    }
}

}  // namespace halcyon
