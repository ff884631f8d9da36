#!/usr/bin/env python3
"""QEMU and Halcyon on the same emulator: does a VM that answers `quit` in its early boot also end?

    qemu_storm.py [--qemu N] [--halcyon N] [--seed S] [--jobs J] [--window MILLISECONDS]

Each VM boots SeaBIOS, whose first milliseconds are a storm of port accesses, with 1, 2 or 4 vCPUs,
and is quit at a random moment of them. Counted is how often the reply comes, whether a vCPU thread
is still there when it is read, and whether the process is still there 5 s after the reply, or 5 s
after the quit when there is none. A process that hangs is sent QEMU's kick signal by hand: if that
ends it, a lost signal was all that held it up. Everything random comes from the seed.

Prints both side by side; exits with 0 if Halcyon's VMs all kept the promise, whatever QEMU's did.

HALCYOND names the daemon, MSHV_EMULATOR_LAUNCHER the emulator; the chroot is made when there is
none.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import ctypes
import os
import pathlib
import random
import select
import signal
import sys
import threading
import time

import qemu_chroot
import qemu_vm  # finds tests/qmp
from fixtures import BINARY, open_files, vcpu_threads
from qmp_client import Daemon, QmpClosed
from storm import percentiles

BOUND = 5.0  # seconds from quit to its reply, and from that to the end
VCPUS = (1, 2, 4)
QEMU_KICK = signal.SIGUSR1  # its SIG_IPI
SYS_TGKILL = 234
LIBC = ctypes.CDLL(None)


class Plan:
    """One VM, drawn from (seed, index)."""

    def __init__(self, seed, index, window):
        chance = random.Random(f"{seed}/{index}")
        self.index = index
        self.vcpus = chance.choice(VCPUS)
        self.held = chance.random() < 0.5  # -S and cont, or running at once
        self.moment = chance.uniform(0, window)

    def __str__(self):
        return (f"VM {self.index}: {self.vcpus} vCPUs, {'held' if self.held else 'running'}, "
                f"quit at {self.moment * 1000:.3f} ms")


class Outcome:
    """What became of one VM."""

    def __init__(self):
        self.replied = None  # seconds from quit to its reply; None: no reply
        self.gone = None  # seconds from the reply to the end; None: still there
        self.threads_left = False  # a vCPU thread was there when the reply was read
        self.trouble = None  # what else is wrong
        self.where = None  # where the threads of a hanging process are
        self.told = False  # whether SHUTDOWN was told
        self.healed = False  # whether the kick signal, sent by hand, ended it

    @property
    def hangs(self):
        """Whether the process was still there when it should be gone."""
        return self.where is not None


class Contender:
    """A program, how to start it, and what came of its VMs."""

    def __init__(self, name, start, strict):
        self.name = name
        self.start = start  # (plan) -> Daemon
        self.strict = strict  # whether status and messages are looked at too
        self.outcomes = []
        self.lock = threading.Lock()

    def run(self, plan):
        outcome = Outcome()
        try:
            self._run(plan, outcome)
        except (OSError, QmpClosed, AssertionError) as error:
            outcome.trouble = f"{type(error).__name__}: {error}"
        with self.lock:
            self.outcomes.append((plan, outcome))

    def _run(self, plan, outcome):
        with self.start(plan) as daemon, contextlib.ExitStack() as stack:
            pidfd = os.pidfd_open(daemon.pid)
            stack.callback(os.close, pidfd)
            client = stack.enter_context(contextlib.closing(daemon.connect()))
            if plan.held:
                client.command("cont")
            time.sleep(plan.moment)
            sent = time.monotonic()
            client.send_raw(b'{"execute": "quit"}\n')
            try:
                reply = client.receive_reply(BOUND)
            except TimeoutError:
                outcome.told = any(event["event"] == "SHUTDOWN" for event in client.events)
                self._look_at_hang(daemon, pidfd, outcome)
                return
            replied = time.monotonic()
            outcome.threads_left = bool(vcpu_threads(daemon.pid))
            left_open = [name for name in open_files(daemon.pid) if "mshv" in name]
            outcome.replied = replied - sent
            if reply != {"return": {}}:
                outcome.trouble = f"reply to quit: {reply}"
            if not select.select([pidfd], [], [], BOUND)[0]:
                self._look_at_hang(daemon, pidfd, outcome)
                return
            outcome.gone = time.monotonic() - replied
            status = daemon.wait(5)
            if self.strict and (status != 0 or left_open or daemon.stderr()):
                outcome.trouble = (f"exit status {status}, open after the reply: {left_open}, "
                                   f"messages: {daemon.stderr()!r}")

    @staticmethod
    def _look_at_hang(daemon, pidfd, outcome):
        """Where its threads are; and whether a signal sent by hand ends it, as it will when nothing
        but a lost signal holds it up. That one can be lost too, so it is repeated."""
        outcome.where = threads_of(daemon.pid)
        threads = vcpu_threads(daemon.pid)
        for _ in range(500):
            for thread in threads:
                LIBC.syscall(SYS_TGKILL, daemon.pid, thread, int(QEMU_KICK))
            if select.select([pidfd], [], [], 0.01)[0]:
                outcome.healed = daemon.wait(5) == 0
                return

    def broken(self, outcome):
        """Whether an outcome is not what a reply to quit should mean."""
        return outcome.gone is None or outcome.trouble is not None or outcome.threads_left

    def counts(self, vcpus=None):
        """The figures, of the VMs with that many vCPUs or of all."""
        outcomes = [o for plan, o in self.outcomes if vcpus in (None, plan.vcpus)]
        return collections.Counter(
            quits=len(outcomes),
            replies=sum(o.replied is not None for o in outcomes),
            threads=sum(o.threads_left for o in outcomes),
            replied_hangs=sum(o.replied is not None and o.hangs for o in outcomes),
            silent_hangs=sum(o.replied is None and o.hangs for o in outcomes),
            told_hangs=sum(o.replied is None and o.told and o.hangs for o in outcomes),
            healed=sum(o.healed for o in outcomes),
            hangs=sum(o.hangs for o in outcomes),
            trouble=sum(o.trouble is not None for o in outcomes))


def threads_of(pid):
    """Where the threads of a process are: name, state and, in the kernel, the system call."""
    told = []
    for thread in sorted(os.listdir(f"/proc/{pid}/task"), key=int):
        base = pathlib.Path(f"/proc/{pid}/task/{thread}")
        with contextlib.suppress(OSError):
            state = (base / "stat").read_text().rpartition(")")[2].split()[0]
            call = (base / "syscall").read_text().split()[:3]
            told.append(f"{(base / 'comm').read_text().strip()}: {state} {' '.join(call)}")
    return "; ".join(told)


def halcyond_starter(setup):
    def start(plan):
        return Daemon(qemu_vm.LAUNCHER, BINARY, "-accel", "mshv", "-m", "64", "-nodefaults",
                      "-display", "none", "-bios", setup.seabios, "-smp", str(plan.vcpus),
                      *(["-S"] if plan.held else []), timeout=30)
    return start


def qemu_starter(setup, machine):
    def start(plan):
        return setup.start("-M", machine, "-m", "64", "-bios", setup.seabios, "-smp",
                           str(plan.vcpus), *(["-S"] if plan.held else []), name=str(plan.index))
    return start


def storm(contender, count, options):
    started = time.monotonic()
    plans = [Plan(options.seed, index, options.window / 1000) for index in range(count)]
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(contender.run, plans))
    print(f"{contender.name}: {count} VMs in {time.monotonic() - started:.0f} s", flush=True)


ROWS = [("quits", "quits"),
        ("replies", "replies to quit"),
        ("threads", "vCPU threads there when the reply was read"),
        ("hangs", "processes still there after 5 s"),
        ("replied_hangs", "  that had replied"),
        ("silent_hangs", "  that had not"),
        ("told_hangs", "    but had sent SHUTDOWN"),
        ("healed", "  that ended when SIGUSR1 was sent by hand"),
        ("trouble", "other trouble")]


def table(contenders):
    width = max(len(label) for _, label in ROWS) + 2
    print("\n" + " " * width + "".join(f"{c.name:>28}" for c in contenders))
    counts = [c.counts() for c in contenders]
    for key, label in ROWS:
        print(f"{label:{width}}" + "".join(f"{c[key]:>28}" for c in counts))
    for vcpus in VCPUS:
        cells = [c.counts(vcpus) for c in contenders]
        label = f"  of VMs with {vcpus} vCPU{'s' * (vcpus > 1)}"
        print(f"{label:{width}}" + "".join(f"{c['hangs']:>21} of {c['quits']:<4}" for c in cells))
    for contender in contenders:
        outcomes = [o for _, o in contender.outcomes]
        print(f"{contender.name}: quit to reply "
              f"{percentiles([o.replied for o in outcomes if o.replied is not None])}; "
              f"reply to gone {percentiles([o.gone for o in outcomes if o.gone is not None])}")


def details(contender, most=3):
    """The first few VMs of which something is to be told."""
    for plan, outcome in [(p, o) for p, o in contender.outcomes if o.where or o.trouble][:most]:
        print(f"{contender.name}, {plan}: {outcome.trouble or 'threads: ' + outcome.where}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--qemu", type=int, default=300, metavar="N", help="VMs of QEMU")
    parser.add_argument("--halcyon", type=int, default=2000, metavar="N", help="VMs of Halcyon")
    parser.add_argument("--machine", default="pc", help="QEMU's machine")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--jobs", type=int, default=4, help="VMs at a time")
    parser.add_argument("--window", type=float, default=50, metavar="MILLISECONDS",
                        help="how long after its start a VM is quit at most")
    options = parser.parse_args()
    try:
        setup = qemu_vm.Setup(make=True)
    except qemu_chroot.Unavailable as reason:
        sys.exit(f"qemu_storm: {reason}")
    print(f"seed {options.seed}, window {options.window:g} ms, {options.jobs} at a time; QEMU "
          f"{setup.chroot.package}, {options.machine}", flush=True)
    contenders = [Contender(f"QEMU {setup.chroot.version}", qemu_starter(setup, options.machine),
                            False),
                  Contender("halcyond", halcyond_starter(setup), True)]
    try:
        for contender, count in zip(contenders, (options.qemu, options.halcyon)):
            storm(contender, count, options)
    finally:
        setup.close()
    for contender in contenders:
        details(contender)
    table(contenders)
    kept = not any(contenders[1].broken(outcome) for _, outcome in contenders[1].outcomes)
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
