// Machine: what is done with its memory in the background.
#include <algorithm>
#include <utility>

#include "machine/machine.h"

namespace halcyon {

namespace {

Error ending() {
    return Error("the machine is ending", ErrorCode::kNotActive);
}

}  // namespace

void Machine::run_in_background(std::string name, BackgroundTask::Work work, Done done) {
    if (ending_) {
        done(ending());
        return;
    }
    auto task = std::make_unique<BackgroundTask>(std::move(name));
    BackgroundTask* const raw = task.get();
    auto started = raw->start(std::move(work), [this, raw, done](const Result<void>& result) {
        post([this, raw, done, result] {
            std::erase_if(tasks_, [raw](const auto& candidate) { return candidate.get() == raw; });
            done(ending_ ? Result<void>(ending()) : result);
            try_finish_end();
        });
    });
    if (!started) {
        done(std::move(started));
        return;
    }
    tasks_.push_back(std::move(task));
}

void Machine::read_registers(VcpuIndex index, std::function<void(Result<VcpuRegisters>)> use) {
    if (ended_ || index.value() >= vcpus_.threads().size()) {
        use(Error("there is no vCPU " + std::to_string(index.value()), ErrorCode::kNotFound));
        return;
    }
    read_all_registers([index, use = std::move(use)](Result<std::vector<VcpuRegisters>> all) {
        use(all ? Result<VcpuRegisters>((*all)[index.value()]) : std::move(all).error());
    });
}

void Machine::read_all_registers(std::function<void(Result<std::vector<VcpuRegisters>>)> use) {
    using All = Result<std::vector<VcpuRegisters>>;
    if (run_state_ == RunState::kSaveVm && !ending_) {
        // All are parked, by a request that may be under way for long.
        use(parked_registers());
        return;
    }
    const auto found = std::make_shared<std::optional<All>>();
    enqueue(
        [this, found] {
            const bool running = run_state_ == RunState::kRunning;
            park_guest([this, found, running] {
                *found = parked_registers();
                if (running) {
                    run_guest();
                } else {
                    finish({});
                }
            });
        },
        [found, use = std::move(use)](const Result<void>& result) {
            use(*found ? **found : All(result.error()));
        });
}

Result<std::vector<VcpuRegisters>> Machine::parked_registers() {
    std::vector<VcpuRegisters> all;
    for (const auto& thread : vcpus_.threads()) {
        all.push_back(TRY(thread->vcpu().registers()));
    }
    return all;
}

// -- dump -----------------------------------------------------------------------------------------

Error Machine::dump_in_process() {
    return Error("There is a dump in process, please wait.", ErrorCode::kNotActive);
}

DumpStatus Machine::dump_status() const {
    return dump_ ? dump_->status() : DumpStatus();
}

void Machine::dump(DumpOptions options, Done done) {
    if (dumping_) {
        done(dump_in_process());
        return;
    }
    dumping_ = true;
    // The file first: a path that is wrong stops no guest.
    const auto dump = std::make_shared<MemoryDump>(std::move(options));
    run_in_background(
        "dump", [dump](const std::atomic<bool>& cancelled) { return dump->open(cancelled); },
        [this, dump, done](const Result<void>& opened) {
            // The range too.
            const Result<void> prepared = opened ? dump->prepare(memory(), {}) : opened;
            if (!prepared) {
                dumping_ = false;
                done(prepared);
                return;
            }
            enqueue_dump(dump, done);
        });
}

void Machine::enqueue_dump(std::shared_ptr<MemoryDump> dump, Done done) {
    // Answered when the request completes, or before if it is detached.
    const auto reply = std::make_shared<Done>(std::move(done));
    enqueue(
        [this, dump = std::move(dump), reply] {
            dump_ = dump;
            const bool was_running = run_state_ == RunState::kRunning;
            park_guest([this, reply, was_running] {
                if (was_running) {
                    stop_in(RunState::kSaveVm);
                }
                begin_dump(reply, was_running);
            });
        },
        [reply](const Result<void>& result) {
            if (*reply) {
                (*reply)(result);
            }
        });
}

void Machine::begin_dump(const std::shared_ptr<Done>& reply, bool was_running) {
    Result<std::vector<VcpuRegisters>> registers = parked_registers();
    if (!registers) {
        conclude_dump(reply, std::move(registers).error(), was_running);
        return;
    }
    if (auto prepared = dump_->prepare(memory(), *std::move(registers)); !prepared) {
        conclude_dump(reply, std::move(prepared), was_running);
        return;
    }
    if (dump_->options().detach) {
        std::exchange(*reply, nullptr)({});
    }
    run_in_background(
        "dump",
        [dump = dump_](const std::atomic<bool>& cancelled) { return dump->write(cancelled); },
        [this, reply, was_running](const Result<void>& result) {
            conclude_dump(reply, result, was_running);
        });
}

void Machine::conclude_dump(const std::shared_ptr<Done>& reply, Result<void> result,
                            bool was_running) {
    dump_->finish(result);
    dumping_ = false;
    if (ending_) {
        return;  // the end has answered the request
    }
    observer_.on_dump_completed(dump_->status());
    if (!result && *reply) {
        // Whatever the rest brings, this is what the client is to know; but first the guest.
        *reply = [done = *reply, result](const Result<void>&) { done(result); };
    }
    if (was_running) {
        run_guest();
    } else {
        finish({});
    }
}

}  // namespace halcyon
