#!/usr/bin/env python3
"""Exit status: 0 for an end that was asked for, others for what Restart=on-failure is there for."""

import os
import pathlib
import signal
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "qmp"))

import guests  # noqa: E402
import tap  # noqa: E402
from fixtures import ACCELS, BINARY, Vm, options, run_to_end, start, write_file  # noqa: E402


@tap.test("0 for quit", each=["running", "paused", "prelaunch"])
def _(state):
    vm, client = start("soft", guests.spin(), *(["-S"] if state == "prelaunch" else []))
    if state == "paused":
        client.command("stop")
    client.command("quit")
    vm.expect_exit(0)


@tap.test("0 for a signal that asks for the end", each=["SIGTERM", "SIGINT", "SIGHUP"])
def _(name):
    vm, _ = start("soft", guests.spin())
    os.kill(vm.pid, signal.Signals[name])
    vm.expect_exit(0)


@tap.test("0 when the guest switches itself off", each=ACCELS)
def _(accel):
    Vm(accel, guests.powers_off()).expect_exit(0)


@tap.test("0 when the guest resets itself and that is the end", each=["-no-reboot", "-action reboot=shutdown"])
def _(words):
    Vm("soft", guests.resets("port92"), *words.split()).expect_exit(0)


NOT_STARTED = [("an option", ["-smp", "0"]), ("a file", ["-bios", "/nonexistent"]),
               ("a socket", ["-qmp", "unix:/nonexistent/x,server=on,wait=off"]),
               ("a pidfile", ["-pidfile", "/nonexistent/x"])]


@tap.test("1 when there is no VM", each=NOT_STARTED)
def _(words):
    bios = write_file("bios.bin", guests.spin())
    result = run_to_end(options("soft", "-bios", bios, *words))
    tap.equal(result.returncode, 1, result.stderr)
    tap.equal(result.stderr.count("\n"), 1, f"lines on stderr: {result.stderr!r}")


@tap.test("1 when -help has nowhere to go")
def _():
    with open("/dev/full", "wb") as full:
        result = subprocess.run([BINARY, "-help"], stdout=full, stderr=subprocess.PIPE, text=True,
                                check=False, timeout=10)
    tap.equal((result.returncode, "No space left" in result.stderr), (1, True), result.stderr)


# A guest that turns on paging, which the soft accelerator does not have.
@tap.test("an accelerator that cannot go on stops the VM by default; the quit after that is asked for",
          each=["", "-action internal-error=exit-failure -action internal-error=pause"])
def _(words):
    vm, client = start("soft", guests.pages(), "-S", *words.split())
    client.command("cont")
    client.wait_event("STOP")
    tap.equal(client.command("query-status")["status"], "internal-error", "status")
    client.command("quit")
    vm.expect_exit(0)


@tap.test("2 for an accelerator that cannot go on, with -action internal-error=exit-failure")
def _():
    vm, client = start("soft", guests.pages(), "-S", "-action", "internal-error=exit-failure")
    client.command("cont")
    shutdown = client.wait_event("SHUTDOWN")
    tap.equal(shutdown["data"], {"guest": False, "reason": "host-error"}, "SHUTDOWN")
    vm.expect_exit(2)
    tap.equal("vCPU 0 cannot go on: the soft backend runs" in vm.daemon.stderr(), True,
              vm.daemon.stderr())


@tap.test("-action is as -no-reboot and -no-shutdown are, and can take them back")
def _():
    vm, client = start("soft", guests.powers_off(), "-S", "-action", "shutdown=pause")
    client.command("cont")
    client.wait_event("STOP")
    tap.equal(client.command("query-status")["status"], "shutdown", "status")
    client.command("quit")
    vm.expect_exit(0)
    Vm("soft", guests.powers_off(), "-no-shutdown", "-action", "shutdown=poweroff").expect_exit(0)


@tap.test("-action takes QEMU's actions of devices that are not there",
          each=["panic=none", "panic=exit-failure", "watchdog=inject-nmi",
                "reboot=shutdown,panic=pause,watchdog=none,shutdown=poweroff"])
def _(argument):
    Vm("soft", guests.powers_off(), "-action", argument).expect_exit(0)


@tap.test("-action refuses what it does not know",
          each=["reboot=often", "internal-error=exit", "panic=often", "watchdog=bark", "shutdown", "x=y"])
def _(argument):
    result = run_to_end(["-nodefaults", "-action", argument])
    tap.equal((result.returncode, result.stderr.startswith(f"halcyond: -action {argument}: ")), (1, True),
              result.stderr)


if __name__ == "__main__":
    tap.main()
