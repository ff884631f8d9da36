#!/usr/bin/env python3
"""The VM in systemd-machined's list: a real bus (dbus-daemon), a double of machined on it."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "qmp"))

import guests  # noqa: E402
import tap  # noqa: E402
from fixtures import Vm, listening_socket, options, run_to_end, temporary_directory, write_file  # noqa: E402
from notify import NotifySocket  # noqa: E402

DOUBLE = os.environ.get("MACHINED_DOUBLE")
UNITS = pathlib.Path(os.environ["HALCYON_UNITS"])
SCRIPT = HERE.parents[1] / "systemd" / "machined-registration"
REFUSALS = {"no bus": "the system bus: No such file or directory",
            "no machined": r"systemd-machined: .*org\.freedesktop\.machine1.*",
            "refuse": "systemd-machined: Access denied"}
UUID = "12345678-9abc-def0-1234-56789abcdef0"


def end(process):
    process.kill()
    process.communicate()


class Bus:
    """A bus of its own, and who has machined's name on it."""

    def __init__(self, mode=None):
        if DOUBLE is None:
            tap.skip("built without libsystemd")
        if shutil.which("dbus-daemon") is None:
            tap.skip("dbus-daemon is not installed")
        address = f"unix:path={temporary_directory()}/bus"
        self.environment = {"DBUS_SYSTEM_BUS_ADDRESS": address}
        # It complains of a limit that it cannot raise here.
        self.start("dbus-daemon", "--session", "--nofork", f"--address={address}",
                   "--print-address", stderr=subprocess.DEVNULL).stdout.readline()  # it listens
        self.machined = None
        if mode is not None:
            self.machined = self.start(DOUBLE, mode)
            tap.equal(self.machined.stdout.readline(), "ready\n", "the double")

    def start(self, *command, stderr=None):
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=stderr, text=True,
                                   env={**os.environ, **self.environment})
        tap.cleanup(lambda: end(process))
        return process

    def vm(self, *extra):
        """A service on the bus that is ready."""
        manager = NotifySocket()
        vm = Vm("soft", guests.spin(), *extra,
                environment={**manager.environment, **self.environment})
        manager.wait_for("READY")
        return vm

    def call(self):
        """The next call of machined's methods."""
        return self.machined.stdout.readline().rstrip()


@tap.test("a service registers: class vm, itself the leader; and unregisters at its end")
def _():
    bus = Bus("accept")
    vm = bus.vm("-name", "web", "-uuid", UUID)
    tap.equal(bus.call(), f"RegisterMachine web '{UUID.replace('-', '')}' halcyon vm {vm.pid} ''",
              "call")
    vm.connect().command("quit")
    tap.equal(bus.call(), "UnregisterMachine web", "call")


@tap.test("a VM without a UUID registers without one")
def _():
    bus = Bus("accept")
    vm = bus.vm("-name", "web")
    tap.equal(bus.call(), f"RegisterMachine web '' halcyon vm {vm.pid} ''", "call")


@tap.test("SIGTERM unregisters too")
def _():
    bus = Bus("accept")
    vm = bus.vm("-name", "web")
    bus.call()
    os.kill(vm.pid, signal.SIGTERM)
    tap.equal(bus.call(), "UnregisterMachine web", "call")


def no_registration(bus, *extra):
    """The next call on the bus is a later one's, not this VM's."""
    bus.vm(*extra).connect().command("quit")
    later = bus.vm("-name", "later")
    tap.equal(bus.call(), f"RegisterMachine later '' halcyon vm {later.pid} ''", "call")


@tap.test("-machined off does not register")
def _():
    no_registration(Bus("accept"), "-name", "web", "-machined", "off")


@tap.test("a VM without a name does not register")
def _():
    no_registration(Bus("accept"))


@tap.test("who is no service does not register, unless by -machined on")
def _():
    bus = Bus("accept")
    Vm("soft", guests.spin(), "-name", "web", environment=bus.environment).connect().command("quit")
    vm = Vm("soft", guests.spin(), "-name", "wanted", "-machined", "on",
            environment=bus.environment)
    vm.connect()
    tap.equal(bus.call(), f"RegisterMachine wanted '' halcyon vm {vm.pid} ''", "call")


@tap.test("no bus, no machined, or one that refuses: the VM runs",
          each=list(REFUSALS))
def _(case):
    bus = Bus(case if case == "refuse" else None)
    if case == "no bus":
        bus.environment = {"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent/bus"}
    vm = bus.vm("-name", "web", "-d", "info")
    client = vm.connect()
    tap.equal(client.command("query-status")["status"], "running", "status")
    client.command("quit")
    vm.expect_exit()
    tap.equal("not registered with systemd-machined: " in vm.daemon.stderr(), True, "the log tells")


def expect_no_start(bus, extra, reason):
    """`reason` is a regular expression."""
    done = run_to_end(options("soft", *extra), env={**os.environ, **bus.environment})
    tap.equal(done.returncode, 1, "exit status")
    tap.equal(re.fullmatch(f"halcyond: {reason}\n", done.stderr) is not None, True, done.stderr)


@tap.test("-machined on without the bus, without machined, or refused, is an error",
          each=list(REFUSALS))
def _(case):
    bus = Bus(case if case == "refuse" else None)
    if case == "no bus":
        bus.environment = {"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent/bus"}
    expect_no_start(bus, ["-name", "web", "-machined", "on"], f"-machined on: {REFUSALS[case]}")


@tap.test("-machined on without a name is an error")
def _():
    expect_no_start(Bus("accept"), ["-machined", "on"],
                    "-machined on: a machine that is registered needs -name")


@tap.test("a bus that does not answer costs five seconds, not the VM", timeout=60)
def _():
    bus = Bus()
    path = os.path.join(temporary_directory(), "bus")
    listening_socket(path)
    bus.environment = {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={path}"}
    vm = bus.vm("-name", "web")
    tap.equal(vm.connect().command("query-status")["status"], "running", "status")


@tap.test("a machined that does not answer costs five seconds, not the VM", timeout=60)
def _():
    bus = Bus("silent")
    vm = bus.vm("-name", "web")
    tap.equal(vm.connect().command("query-status")["status"], "running", "status")


@tap.test("-machined takes on, off or auto")
def _():
    expect_no_start(Bus(), ["-machined", "maybe"],
                    "-machined maybe: 'maybe' is neither on, off nor auto.*")


@tap.test("machinectl poweroff's signal presses the power button")
def _():
    vm = Vm("soft", guests.spin())
    client = vm.connect()
    os.kill(vm.pid, signal.SIGRTMIN + 4)
    client.wait_event("POWERDOWN", 5)
    tap.equal(client.command("query-status")["status"], "running", "status")


def register(bus, *words):
    return subprocess.run([SCRIPT, *words], capture_output=True, text=True, check=False,
                          env={**os.environ, **bus.environment})


@tap.test("the unit's helper registers a main process by its number")
def _():
    bus = Bus("accept")
    done = register(bus, "add", "web", "4711")
    tap.equal((done.returncode, done.stdout, done.stderr), (0, "", ""), "outcome")
    tap.equal(bus.call(), "RegisterMachine web '' halcyon vm 4711 ''", "call")


@tap.test("the unit's helper removes a machine, or what was not there, in silence",
          each=["accept", "refuse"])
def _(mode):
    bus = Bus(mode)
    done = register(bus, "remove", "web")
    tap.equal((done.returncode, done.stdout, done.stderr), (0, "", ""), "outcome")
    tap.equal(bus.call(), "UnregisterMachine web", "call")


@tap.test("the unit's helper says nothing where there is no machined, or no bus", each=[True, False])
def _(has_bus):
    bus = Bus()
    if not has_bus:
        bus.environment = {"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent/bus"}
    done = register(bus, "add", "web", "4711")
    tap.equal((done.returncode, done.stdout, done.stderr), (0, "", ""), "outcome")


@tap.test("the unit's helper tells when machined refuses")
def _():
    done = register(Bus("refuse"), "add", "web", "4711")
    tap.equal(done.returncode != 0 and "Access denied" in done.stderr, True, done.stderr)


@tap.test("the unit calls its helper with all rights, and the service does not register itself")
def _():
    unit = (UNITS / "halcyon@.service").read_text()
    for line in (r"ExecStartPost=-\+/.*/halcyon/machined-registration add %i \$MAINPID",
                 r"ExecStopPost=-\+/.*/halcyon/machined-registration remove %i"):
        tap.equal(re.search(f"^{line}$", unit, re.MULTILINE) is not None, True, line)
    tap.equal(" -machined off " in unit, True, "-machined off")


if __name__ == "__main__":
    tap.main()
