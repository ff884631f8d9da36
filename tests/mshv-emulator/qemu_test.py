#!/usr/bin/env python3
"""QEMU's own mshv accelerator, unmodified, boots SeaBIOS on the emulator and answers QMP.

QEMU runs on real Hyper-V hosts, so what it needs and the emulator refuses is the emulator's fault.
Skipped where Debian unstable's QEMU is not to be had; HALCYON_SID_MAKE=1 gets it.
"""

import contextlib
import os
import re

import qemu_chroot
import qemu_vm  # finds tests/qmp
import guests
import tap
from qmp_client import QmpClosed

MACHINES = ["q35", "pc"]
BOOTS = [(f"{machine}, {count} vCPUs", (machine, count))
         for machine in MACHINES for count in (1, 2, 4)]
BANNER = b"SeaBIOS (version"
# From here on the firmware waits in HLT. Before, QEMU 11.1 can lose the signal by which it wants to
# stop a vCPU (docs/proof.md), so that neither stop nor quit can be relied upon.
IDLE = b"No bootable device"
COUNTER = 0x0005  # 500h, as its bytes follow the opcode


class State:
    """The chroot, or why there is none."""

    setup = None
    reason = None


def setup():
    """The chroot; skips the running test where there is none."""
    if State.setup is None and State.reason is None:
        if not os.access(qemu_vm.KVM, os.R_OK | os.W_OK):
            State.reason = f"{qemu_vm.KVM} cannot be opened"
        else:
            try:
                State.setup = qemu_vm.Setup(make=os.environ.get("HALCYON_SID_MAKE") == "1")
            except qemu_chroot.Unavailable as unavailable:
                State.reason = str(unavailable)
    if State.reason is not None:
        tap.skip(State.reason)
    return State.setup


def read(path):
    with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
        return file.read()
    return b""


class Vm:
    """A started QEMU, which goes with the test, and its console."""

    def __init__(self, machine, count, *extra, **keywords):
        self.setup = setup()
        self.daemon = self.setup.start("-M", machine, "-smp", str(count), "-m", "64", *extra,
                                       **keywords)
        tap.cleanup(self.daemon.kill)
        tap.cleanup(self.show_if_wrong)
        self.client = None

    def connect(self):
        try:
            self.client = self.daemon.connect()
        except QmpClosed as error:
            raise AssertionError(f"QEMU ended: {self.daemon.stderr()!r}; "
                                 f"the emulator: {self.log()!r}") from error
        tap.cleanup(self.client.close)
        return self.client

    def console(self):
        return read(self.setup.path("vm.console"))

    def log(self):
        return read(self.setup.path("vm.log")).decode(errors="replace")

    def show_if_wrong(self):
        """What QEMU and the emulator had to say, but for QEMU's remarks on its options."""
        text = self.daemon.stderr() + self.log()
        lines = [line for line in text.splitlines() if "warning:" not in line]
        tap.diagnose("\n".join(lines[-20:]))

    def wait_console(self, text, times=1, timeout=60.0):
        tap.wait_until(lambda: self.console().count(text) >= times or self.daemon.process.poll(),
                       f"{times} times {text!r} on the console; there is "
                       f"{self.console()[-300:]!r}", timeout)
        tap.equal(self.console().count(text) >= times, True, f"{text!r} on the console")


@tap.test("Debian unstable's QEMU has the mshv accelerator", timeout=600)
def _():
    chroot = setup().chroot
    tap.diagnose(f"{chroot.directory}: QEMU {chroot.package}")


@tap.test("SeaBIOS prints its banner", each=BOOTS, timeout=90)
def _(boot):
    vm = Vm(*boot)
    vm.connect()
    vm.wait_console(BANNER)


@tap.test("SeaBIOS starts all processors and looks for something to boot", each=BOOTS, timeout=120)
def _(boot):
    vm = Vm(*boot, "-boot", "menu=off")
    vm.connect()
    vm.wait_console(IDLE, timeout=90)
    found = re.search(rb"Found (\d+) cpu\(s\)", vm.console())
    tap.equal(int(found[1]), boot[1], "processors found")


@tap.test("greets, negotiates and reports its status", each=MACHINES, timeout=60)
def _(machine):
    vm = Vm(machine, 2)
    client = vm.connect()
    version = client.greeting["QMP"]["version"]["qemu"]
    tap.equal((version["major"], version["minor"]) >= qemu_chroot.OLDEST, True, "version")
    tap.equal(client.command("query-status")["status"], "running", "status")
    tap.equal(len(client.command("query-cpus-fast")), 2, "vCPUs")


def counting_guest():
    """Firmware that counts in a word at COUNTER and never leaves the guest: 16-bit
    l: inc word [COUNTER]; jmp l."""
    code = guests.Code(guests.ENTRY).raw("31C0 8ED8").label("l")
    return guests.image(code.raw(f"FF06 {COUNTER:04X}").short(0xEB, "l").finish())


@tap.test("stands still between stop and cont, and goes on", each=MACHINES, timeout=60)
def _(machine):
    path = setup().path("counting.bin")
    with open(path, "wb") as file:
        file.write(counting_guest())
    client = Vm(machine, 1, "-bios", path, "-S").connect()

    def counter():
        """Leaves the vCPU alone: a signal to it that follows another one at once could be lost."""
        client.command("pmemsave", val=0x500, size=2, filename=setup().path("counter"))
        return read(setup().path("counter"))

    def wait_counting(what):
        before = counter()
        tap.wait_until(lambda: counter() != before, what, 10)

    tap.equal(client.command("query-status")["status"], "prelaunch", "status with -S")
    client.command("cont")
    wait_counting("the guest runs")
    for _ in range(5):
        client.command("stop", timeout=20)
        tap.equal(client.command("query-status")["status"], "paused", "status after stop")
        before = counter()
        registers = client.command("human-monitor-command", command_line="info registers")
        tap.equal((counter(), client.command("human-monitor-command",
                                             command_line="info registers")),
                  (before, registers), "memory and registers of a stopped guest")
        client.command("cont")
        tap.equal(client.command("query-status")["status"], "running", "status after cont")
        wait_counting("the guest goes on")


@tap.test("boots again after system_reset", each=MACHINES, timeout=120)
def _(machine):
    vm = Vm(machine, 2, "-boot", "menu=off")
    client = vm.connect()
    vm.wait_console(IDLE)
    client.command("system_reset")
    client.wait_event("RESET", 20)
    vm.wait_console(BANNER, 2)


@tap.test("answers quit of an idle guest and ends", each=MACHINES, timeout=90)
def _(machine):
    vm = Vm(machine, 2, "-boot", "menu=off")
    client = vm.connect()
    vm.wait_console(IDLE)
    tap.equal(client.command("quit", timeout=20), {}, "reply")
    tap.equal(vm.daemon.wait(20), 0, "exit status")


@tap.test("needs nothing that the emulator refuses", each=MACHINES, timeout=90)
def _(machine):
    vm = Vm(machine, 2, "-boot", "menu=off")
    vm.connect()
    vm.wait_console(IDLE)
    tap.equal(vm.log(), "", "the emulator's log of refusals")


if __name__ == "__main__":
    try:
        tap.main()
    finally:
        if State.setup is not None:
            State.setup.close()
