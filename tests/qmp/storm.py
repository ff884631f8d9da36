#!/usr/bin/env python3
"""The storm: many VMs, each ended at a random moment of its first 20 ms, and the promise checked on each.

    storm.py [N] [--seed S] [--kind quit|stop] [--accel kvm,soft] [--jobs J] [--only INDEX]

HALCYOND names the daemon. A VM has 1 to 8 vCPUs, and its guest hammers ports or memory holes, spins or
halts on all of them. After the reply to quit: no vCPU thread is in /proc/PID/task, no descriptor of
the hypervisor is open, the process is gone within a bound, its status is 0, and no kick had to be repeated.
The kind "stop" stops and continues each VM several times instead, and sees that it stands still between.

Everything random comes from the seed, which is printed; --only repeats one VM of it. Exits with 0 only if
every VM kept the promise.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import os
import random
import select
import shutil
import signal
import sys
import tempfile
import threading
import time

import fixtures
import guests
from qmp_client import Daemon, QmpClient

WINDOW = 0.020  # the "first 20 ms"
REPLY_BOUND = 2.0  # seconds; generous, because the storm loads the machine with itself
GONE_BOUND = 2.0
STOPS_PER_VM = 4

IMAGES = {
    "pio on all": lambda: guests.on_all_vcpus("pio"),
    "spin on all": lambda: guests.on_all_vcpus("spin"),
    "mix on all": lambda: guests.on_all_vcpus("mix"),
    "hlt on all": lambda: guests.on_all_vcpus("hlt"),
    "pio": guests.pio_hammer,
    "pio read": guests.pio_read_hammer,
    "string pio": guests.string_pio_hammer,
    "mmio": guests.mmio_hammer,
    "resets": lambda: guests.resets("port92"),
}


class Broken(Exception):
    """The promise was not kept."""


class Plan:
    """What one VM of the storm is, all of it drawn from (seed, index)."""

    def __init__(self, seed, index, accels):
        chance = random.Random(f"{seed}/{index}")
        self.index = index
        self.accel = accels[index % len(accels)]
        self.vcpus = chance.randint(1, 8)
        self.guest = chance.choice(list(IMAGES))
        # "early": everything up to quit in one write, before the daemon has even started.
        self.start = chance.choice(["running"] * 5 + ["held"] * 4 + ["early"])
        self.end = "SIGTERM" if chance.random() < 0.1 and self.start != "early" else "quit"
        self.asks_threads = chance.random() < 0.3
        self.moment = chance.uniform(0, WINDOW)
        self.pauses = [chance.uniform(0, WINDOW / 2) for _ in range(STOPS_PER_VM)]

    def __str__(self):
        return (f"VM {self.index}: {self.accel}, {self.vcpus} vCPUs, {self.guest}, {self.start}, "
                f"{self.end} at {self.moment * 1000:.3f} ms")


class Storm:
    """A run: the firmware files, and the times and failures found."""

    def __init__(self, accels, seed):
        self.accels = accels
        self.seed = seed
        self.directory = tempfile.mkdtemp(prefix="halcyon-storm-")
        self.images = {}
        for number, (name, make) in enumerate(IMAGES.items()):
            self.images[name] = fixtures.write_file(f"{number}.bin", make(), self.directory)
        self.reply_times = []
        self.gone_times = []
        self.rekicks = 0
        self.counts = collections.Counter()
        self.failures = []
        self.lock = threading.Lock()

    def close(self):
        shutil.rmtree(self.directory, ignore_errors=True)

    def run(self, kind, indices, jobs, time_limit=None):
        """Runs these VMs, `jobs` at a time; stops early (without an error) at the time limit."""
        started = time.monotonic()
        body = {"quit": self._quit_vm, "stop": self._stop_vm}[kind]

        def one(index):
            if time_limit is not None and time.monotonic() - started > time_limit:
                return
            plan = Plan(self.seed, index, self.accels)
            try:
                self._with_daemon(plan, body)
                with self.lock:
                    self.counts[plan.accel] += 1
            except Exception as error:  # each VM's failure is one of the results
                with self.lock:
                    self.failures.append(f"{plan}: {type(error).__name__}: {error}")

        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            list(pool.map(one, indices))
        return time.monotonic() - started

    def _with_daemon(self, plan, body):
        arguments = fixtures.options(plan.accel, "-bios", self.images[plan.guest], "-smp",
                                     str(plan.vcpus), *(["-S"] if plan.start == "held" else []))
        with Daemon(fixtures.BINARY, *arguments, timeout=10) as daemon:
            pidfd = os.pidfd_open(daemon.pid)
            try:
                client = QmpClient.connect(daemon.paths[0], 10)
                with contextlib.closing(client):
                    body(plan, daemon, pidfd, client)
                self._check_log(daemon)
            finally:
                os.close(pidfd)

    def _quit_vm(self, plan, daemon, pidfd, client):
        threads = []
        if plan.start == "early":
            sent = time.monotonic()
            client.send_raw(b'{"execute": "qmp_capabilities"} {"execute": "quit"}')
            client.expect_greeting()
            client.receive_reply()
        else:
            client.negotiate()
            if plan.start == "held":
                client.command("cont")
            began = time.monotonic()
            if plan.asks_threads:
                threads = [cpu["thread-id"] for cpu in client.command("query-cpus-fast")]
            left = plan.moment - (time.monotonic() - began)
            if left > 0:
                time.sleep(left)
            sent = time.monotonic()
            if plan.end == "SIGTERM":
                os.kill(daemon.pid, signal.SIGTERM)
            else:
                client.send_raw(b'{"execute": "quit"}')
        # The time of an early quit is that of the start.
        self._check_end(plan, plan.end, daemon, pidfd, client, sent, threads,
                        plan.start != "early")

    def _check_end(self, plan, end, daemon, pidfd, client, sent, threads, timed):
        if end == "quit":
            reply = client.receive_reply(10)
            replied = time.monotonic()
            self._check_at_rest(plan.accel, daemon.pid, threads)
            if reply != {"return": {}}:
                raise Broken(f"reply to quit: {reply}")
            if replied - sent > REPLY_BOUND and timed:
                raise Broken(f"quit was answered after {replied - sent:.3f} s")
        else:
            client.wait_event("SHUTDOWN", 10)
            replied = time.monotonic()
        ready, _, _ = select.select([pidfd], [], [], 10)
        gone = time.monotonic()
        if not ready:
            raise Broken(f"the process did not end; threads {daemon.threads()}")
        if gone - replied > GONE_BOUND:
            raise Broken(f"the process was gone {gone - replied:.3f} s after the reply")
        status = daemon.wait(5)
        if status != 0:
            raise Broken(f"exit status {status}: {daemon.stderr()!r}")
        shutdowns = [event for event in client.events if event["event"] == "SHUTDOWN"]
        if end == "quit" and len(shutdowns) != 1:
            raise Broken(f"events: {client.events}")
        with self.lock:
            if end == "quit" and timed:
                self.reply_times.append(replied - sent)
            self.gone_times.append(gone - replied)

    @staticmethod
    def _check_at_rest(accel, pid, threads):
        """What must hold at the very moment the reply was read."""
        left = fixtures.vcpu_threads(pid)
        tasks = {int(task) for task in _listing(f"/proc/{pid}/task")}
        if left or tasks & set(threads):
            raise Broken(f"vCPU threads after the reply: {left or tasks & set(threads)}")
        # The emulator of /dev/mshv has descriptors of KVM, which are what a hypervisor is elsewhere.
        open_ones = [name for name in fixtures.open_files(pid)
                     if ("mshv" if accel == "mshv" else "kvm") in os.path.basename(name)]
        if open_ones:
            raise Broken(f"descriptors open after the reply: {open_ones}")

    def _stop_vm(self, plan, daemon, pidfd, client):
        client.negotiate()
        if plan.start == "held":
            client.command("cont")
        for pause in plan.pauses:
            time.sleep(pause)
            sent = time.monotonic()
            client.command("stop", timeout=10)
            replied = time.monotonic()
            if replied - sent > REPLY_BOUND:
                raise Broken(f"stop was answered after {replied - sent:.3f} s")
            with self.lock:
                self.reply_times.append(replied - sent)
            self._check_still(plan, daemon.pid, client)
            client.command("cont", timeout=10)
        self._check_rekicks(client)
        client.events.clear()
        sent = time.monotonic()
        client.send_raw(b'{"execute": "quit"}')
        self._check_end(plan, "quit", daemon, pidfd, client, sent, [], False)

    @staticmethod
    def _check_still(plan, pid, client):
        """The vCPU threads use no CPU while stopped, and nothing is told."""
        threads = fixtures.vcpu_threads(pid)
        deadline = time.monotonic() + 1.0
        # A thread that has acknowledged may still be on its way to sleep.
        while any(fixtures.thread_state(pid, thread) != "S" for thread in threads):
            if time.monotonic() > deadline:
                raise Broken("a vCPU thread does not go to sleep after stop")
        before = [fixtures.cpu_nanoseconds(pid, thread) for thread in threads]
        client.events.clear()
        time.sleep(0.005)
        after = [fixtures.cpu_nanoseconds(pid, thread) for thread in threads]
        used = sum(after) - sum(before)
        if used > 500_000:
            raise Broken(f"vCPU threads used {used} ns of CPU after the reply to stop")
        if client.command("query-status", timeout=10)["status"] not in ("paused", "prelaunch"):
            raise Broken("not paused")
        if client.events and plan.guest != "resets":
            raise Broken(f"events while stopped: {client.events}")

    def _check_rekicks(self, client):
        """The counter of repeated kicks, which must be 0 for ever."""
        if fixtures.IS_QEMU:
            return
        total = sum(vcpu["rekicks"] for vcpu in client.command(REKICK_QUERY))
        with self.lock:
            self.rekicks += total
        if total:
            raise Broken(f"{total} kicks had to be repeated")

    def _check_log(self, daemon):
        """At its end the daemon warns of each kick it had to repeat; a healthy one says nothing."""
        log = daemon.stderr()
        again = log.count("kicking again")
        with self.lock:
            self.rekicks += again
        if again:
            raise Broken(f"{again} kicks had to be repeated: {log!r}")
        if log and not fixtures.IS_QEMU:
            raise Broken(f"messages: {log!r}")

    def summary(self, kind, seconds):
        done = sum(self.counts.values())
        mix = ", ".join(f"{count} {name}" for name, count in sorted(self.counts.items()))
        return (f"{kind} storm: {done} VMs kept the promise ({mix}), {len(self.failures)} broke it; "
                f"re-kicks {self.rekicks}; {kind} to reply {percentiles(self.reply_times)}; "
                f"reply to gone {percentiles(self.gone_times)}; {done / seconds:.1f} VMs/s; "
                f"seed {self.seed}")


REKICK_QUERY = "__org.halcyon_query-vcpu-stats"


def _listing(path):
    try:
        return os.listdir(path)
    except (FileNotFoundError, ProcessLookupError):
        return []


def percentiles(samples):
    """Median, 99th percentile and maximum of seconds, in milliseconds."""
    if not samples:
        return "-"
    ordered = sorted(samples)

    def at(fraction):
        return ordered[min(int(fraction * len(ordered)), len(ordered) - 1)] * 1000

    return f"p50 {at(0.5):.2f} p99 {at(0.99):.2f} max {at(1.0):.2f} ms"


def present_accels():
    return ["soft", *(["kvm"] if fixtures.KVM else []), *(["mshv"] if fixtures.MSHV else [])]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", nargs="?", type=int, default=2000, metavar="N")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--kind", choices=["quit", "stop", "both"], default="both")
    parser.add_argument("--accel", default=None, help="a comma-separated list; all that are here")
    parser.add_argument("--jobs", type=int, default=4, help="VMs at a time")
    parser.add_argument("--only", type=int, default=None, metavar="INDEX")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(2**32)
    accels = options.accel.split(",") if options.accel else present_accels()
    print(f"seed {seed}, accelerators {', '.join(accels)}", flush=True)
    indices = [options.only] if options.only is not None else range(options.count)
    broken = 0
    for kind in (["quit", "stop"] if options.kind == "both" else [options.kind]):
        storm = Storm(accels, seed)
        try:
            seconds = storm.run(kind, indices, options.jobs)
        finally:
            storm.close()
        for failure in storm.failures[:20]:
            print(failure)
        print(storm.summary(kind, seconds), flush=True)
        broken += len(storm.failures)
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
