#!/usr/bin/env python3
"""The watchdog: WATCHDOG=1 is a proof that the main loop and every running vCPU are alive."""

import ctypes
import os
import pathlib
import signal
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "qmp"))

import guests  # noqa: E402
import tap  # noqa: E402
from fixtures import ACCELS, Vm, vcpu_threads  # noqa: E402
from notify import NotifySocket  # noqa: E402

PERIOD = 0.8
PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207  # linux/ptrace.h
WALL = 0x40000000  # __WALL of waitpid(2): threads too
LIBC = ctypes.CDLL(None, use_errno=True)


def ptrace(request, thread):
    LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if LIBC.ptrace(request, thread, None, None) != 0:
        error = ctypes.get_errno()
        if request == PTRACE_SEIZE:
            tap.skip(f"no debugger may attach here: {os.strerror(error)}")
        raise OSError(error, os.strerror(error))


class Debugger:
    """Holds one thread, as a debugger at a breakpoint does."""

    def __init__(self, thread):
        self.thread = thread
        ptrace(PTRACE_SEIZE, thread)
        ptrace(PTRACE_INTERRUPT, thread)
        os.waitpid(thread, WALL)

    def release(self):
        ptrace(PTRACE_DETACH, self.thread)


def start_watched(accel, *extra, image=None, period=PERIOD, **keywords):
    """A VM with a watchdog, which has just said that it is ready."""
    manager = NotifySocket()
    environment = {**manager.environment, "WATCHDOG_USEC": str(int(period * 1e6))}
    vm = Vm(accel, image or guests.spin(), *extra, environment=environment, **keywords)
    manager.wait_for("READY")
    return manager, vm


def expect_signs(manager, count):
    for _ in range(count):
        manager.wait_for("WATCHDOG", "1")


GUESTS = ["spin", "halt_loop", "pio_hammer", "mmio_hammer"]


@tap.test("WATCHDOG=1 comes again and again, whatever the guest does",
          each=[(f"{accel}, {name}", (accel, name)) for accel in ACCELS for name in GUESTS])
def _(case):
    accel, name = case
    manager, vm = start_watched(accel, "-smp", "2", image=getattr(guests, name)())
    begin = time.monotonic()
    expect_signs(manager, 4)
    # The first at once, then each half of a period.
    tap.equal(time.monotonic() - begin >= 2 * PERIOD / 2, True, "it comes no more often than it should")
    tap.equal([cpu["rekicks"] for cpu in vcpu_kicks(vm.connect())], [0, 0], "kicks that had to be repeated")


def vcpu_kicks(client):
    """The kicks of each vCPU, from query-stats."""
    reply = client.command("query-stats", target="vcpu")
    return [{entry["name"]: entry["value"] for entry in vcpu["stats"]} for vcpu in reply]


@tap.test("each sign takes a kick of each running vCPU")
def _():
    manager, vm = start_watched("soft", "-smp", "2")
    client = vm.connect()
    before = [cpu["kicks"] for cpu in vcpu_kicks(client)]
    manager.rest()
    # The kick of the first may have been before.
    expect_signs(manager, 4)
    after = [cpu["kicks"] for cpu in vcpu_kicks(client)]
    tap.equal([b - a >= 3 for a, b in zip(before, after)], [True, True], f"{before} to {after}")


@tap.test("parked vCPUs need no kick", each=["-S", "stop"])
def _(how):
    manager, vm = start_watched("soft", *(["-S"] if how == "-S" else []))
    client = vm.connect()
    if how == "stop":
        client.command("stop")
        manager.wait_for("STATUS")
    before = vcpu_kicks(client)[0]["kicks"]
    manager.rest()
    expect_signs(manager, 3)
    tap.equal(vcpu_kicks(client)[0]["kicks"], before, "kicks")


@tap.test("a wedged vCPU keeps WATCHDOG=1 back; the status and the log name it", each=ACCELS)
def _(accel):
    manager, vm = start_watched(accel, "-smp", "2")
    thread = sorted(vcpu_threads(vm.pid))[1]
    debugger = Debugger(thread)
    # One more sign may have been on its way, and one whose kick was answered before.
    status = manager.wait_for("STATUS")["STATUS"]
    expected = f"running, 2 vCPUs, {accel}, 16 MiB; vCPU 1 (thread {thread} "
    tap.equal(status.startswith(expected), True, status)
    tap.equal(f"vCPU 1 (thread {thread} " in vm.daemon.stderr(), True, vm.daemon.stderr())
    # The main loop is well, and gives no sign for all that.
    tap.equal(vm.connect().command("query-status")["status"], "running", "status")
    time.sleep(1.5 * PERIOD)
    tap.equal(manager.rest(), [], "messages while it is wedged")
    debugger.release()
    tap.equal(manager.receive(), {"WATCHDOG": "1"}, "message once it is free")
    tap.equal(manager.receive(), {"STATUS": f"running, 2 vCPUs, {accel}, 16 MiB"}, "message")
    expect_signs(manager, 2)


@tap.test("a wedged main thread keeps WATCHDOG=1 back", each=ACCELS)
def _(accel):
    manager, vm = start_watched(accel)
    debugger = Debugger(vm.pid)
    manager.rest()
    time.sleep(1.5 * PERIOD)
    tap.equal(manager.rest(), [], "messages while it is wedged")
    debugger.release()
    expect_signs(manager, 2)


@tap.test("a vCPU that is stopped while it is wedged is no failure", each=ACCELS)
def _(accel):
    manager, vm = start_watched(accel)
    client = vm.connect()
    debugger = Debugger(vcpu_threads(vm.pid)[0])
    manager.wait_for("STATUS")
    client.send({"execute": "stop"})
    debugger.release()
    tap.equal(client.receive_reply(), {"return": {}}, "reply")
    manager.wait_for("STATUS", f"paused, 1 vCPU, {accel}, 16 MiB")
    expect_signs(manager, 2)


@tap.test("no WATCHDOG=1 after STOPPING=1")
def _():
    manager, vm = start_watched("soft", period=0.01)
    manager.wait_for("WATCHDOG")
    os.kill(vm.pid, signal.SIGTERM)
    manager.wait_for("STOPPING")
    vm.expect_exit(0)
    tap.equal([message for message in manager.rest() if "WATCHDOG" in message], [], "messages")


@tap.test("a watchdog that is meant for another process, or none, is not served",
          each=[("another's", {"WATCHDOG_USEC": "10000", "WATCHDOG_PID": "1"}), ("none", {}),
                ("zero", {"WATCHDOG_USEC": "0"}), ("nonsense", {"WATCHDOG_USEC": "soon"})])
def _(environment):
    manager = NotifySocket()
    vm = Vm("soft", guests.spin(), environment={**manager.environment, **environment})
    manager.wait_for("READY")
    time.sleep(0.05)
    vm.connect().command("quit")
    vm.expect_exit(0)
    tap.equal([message for message in manager.rest() if "WATCHDOG" in message], [], "messages")


if __name__ == "__main__":
    tap.main()
