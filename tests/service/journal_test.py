#!/usr/bin/env python3
"""The log: as structured messages in the journal where stderr leads there, as lines elsewhere."""

import os
import pathlib
import shutil
import socket
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "qmp"))

import guests  # noqa: E402
import tap  # noqa: E402
from fixtures import (BINARY, Vm, connect, options, run_to_end, start, temporary_directory,  # noqa: E402
                      write_file)
from qmp_client import QmpClient  # noqa: E402

UUID = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"


def parse_entry(data):
    """A message of the journal's native protocol: NAME=value lines, or NAME, a length and as many bytes."""
    fields = {}
    while data:
        line, _, data = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            length = int.from_bytes(data[:8], "little")
            value, data = data[8:8 + length], data[8 + length + 1:]
        fields[name.decode()] = value.decode()
    return fields


class Journal:
    """A double of journald: its socket, in a mount namespace that a VM is started in."""

    def __init__(self):
        self.directory = temporary_directory()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(os.path.join(self.directory, "socket"))
        tap.cleanup(self.socket.close)

    def command(self, *words):
        """The command that runs `words` where this is the journal."""
        if os.geteuid() != 0 or shutil.which("unshare") is None:
            tap.skip("only root can put a socket in the journal's place")
        script = ('mount -t tmpfs none /run && mkdir -p /run/systemd/journal && '
                  f'mount --bind {self.directory} /run/systemd/journal && exec "$@"')
        probe = subprocess.run(["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/run"], check=False,
                               capture_output=True)
        if probe.returncode != 0:
            tap.skip("mount namespaces are not allowed here")
        return ["unshare", "--mount", "sh", "-c", script, "sh", *words]

    def wait_for(self, text, timeout=10.0):
        """The next message that contains `text`, as a dictionary of its fields."""
        self.socket.settimeout(timeout)
        while True:
            entry = parse_entry(self.socket.recv(65536))
            if text in entry["MESSAGE"]:
                return entry


class LoggedVm:
    """A VM whose stderr is the journal's, as JOURNAL_STREAM says."""

    def __init__(self, *extra, image=None, stream=None):
        self.journal = Journal()
        self.path = os.path.join(temporary_directory(), "qmp.sock")
        stderr_path = os.path.join(temporary_directory(), "stderr")
        bios = write_file("bios.bin", image or guests.spin())
        words = options("soft", "-bios", bios, "-qmp", f"unix:{self.path},server=on,wait=off", *extra)
        command = self.journal.command(BINARY, *words)
        with open(stderr_path, "wb") as stderr:
            status = os.fstat(stderr.fileno())
            own = f"{status.st_dev}:{status.st_ino}"
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=stderr,
                                            env={**os.environ, "JOURNAL_STREAM": stream or own})
        self.stderr_path = stderr_path
        tap.cleanup(self.kill)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def connect(self):
        return connect(self.path, process=self.process)

    def stderr(self):
        return pathlib.Path(self.stderr_path).read_text()


@tap.test("a message in the journal has the VM's name and UUID, its weight and the program's name")
def _():
    vm = LoggedVm("-name", "web, the first".replace(",", ",,"), "-uuid", UUID)
    vm.connect()
    entry = vm.journal.wait_for("connected")
    tap.equal({name: entry.get(name) for name in ("VM_NAME", "VM_UUID", "PRIORITY", "SYSLOG_IDENTIFIER")},
              {"VM_NAME": "web, the first", "VM_UUID": UUID, "PRIORITY": "6",
               "SYSLOG_IDENTIFIER": "halcyond"}, "fields")
    tap.equal(vm.stderr(), "", "stderr")


@tap.test("a VM without name and UUID has no such fields")
def _():
    vm = LoggedVm()
    vm.connect()
    entry = vm.journal.wait_for("connected")
    tap.equal([name for name in entry if name.startswith("VM_")], [], "fields")


@tap.test("what is said of a client has its credentials")
def _():
    vm = LoggedVm()
    vm.connect().close()
    entry = vm.journal.wait_for("connected")
    tap.equal(entry["MESSAGE"], f"chardev 'compat_monitor0': connected with process {os.getpid()}, "
              f"user {os.getuid()}, group {os.getgid()}", "message")
    vm.journal.wait_for("chardev 'compat_monitor0': disconnected")


@tap.test("what a command causes has the command's name, and nothing else has")
def _():
    vm = LoggedVm()
    client = vm.connect()
    client.command("query-status")
    tap.equal("QMP_COMMAND" in vm.journal.wait_for("connected"), False, "QMP_COMMAND of a connection")
    vm.journal.wait_for("QMP command qmp_capabilities")
    client.command("stop")
    # Who only asks is not told of.
    entry = vm.journal.wait_for("QMP command")
    tap.equal((entry["MESSAGE"], entry["QMP_COMMAND"]), ("QMP command stop", "stop"), "fields")


@tap.test("what a vCPU does has the vCPU's number")
def _():
    vm = LoggedVm("-no-shutdown", "-no-reboot", "-S", image=guests.resets("triple-fault"))
    vm.connect().command("cont")
    entry = vm.journal.wait_for("triple-faulted")
    tap.equal((entry["VCPU"], entry["PRIORITY"]), ("0", "4"), "VCPU and PRIORITY")


@tap.test("what stops a vCPU has the vCPU's number, said by the main thread")
def _():
    vm = LoggedVm(image=guests.pages())
    entry = vm.journal.wait_for("cannot go on")
    tap.equal((entry["VCPU"], entry["PRIORITY"]), ("0", "4"), "VCPU and PRIORITY")


@tap.test("-d chooses what goes to the journal")
def _():
    vm = LoggedVm("-d", "warning", image=guests.pages())
    vm.connect()
    tap.equal("cannot go on" in parse_entry(vm.journal.socket.recv(65536))["MESSAGE"], True, "the first message")


@tap.test("-daemonize: the log goes to the journal all the same")
def _():
    pidfile = os.path.join(temporary_directory(), "pid")
    vm = LoggedVm("-daemonize", "-pidfile", pidfile, "-name", "web")
    tap.equal(vm.process.wait(10), 0, vm.stderr())
    tap.cleanup(lambda: os.kill(child, 9) if os.path.exists(pidfile) else None)
    child = int(pathlib.Path(pidfile).read_text())
    client = vm.connect()
    tap.equal(vm.journal.wait_for("connected")["VM_NAME"], "web", "VM_NAME")
    client.command("quit")
    client.receive_until_closed()


@tap.test("a JOURNAL_STREAM that is not stderr leaves the log on stderr", each=["1:1", "nonsense"])
def _(stream):
    vm = LoggedVm("-d", "info", stream=stream)
    vm.connect()
    tap.wait_until(lambda: "halcyond: info: chardev 'compat_monitor0': connected" in vm.stderr(), "the line")
    vm.journal.socket.setblocking(False)
    try:
        tap.equal(vm.journal.socket.recv(65536), None, "a message in the journal")
    except BlockingIOError:
        pass


@tap.test("-D goes before the journal")
def _():
    log = os.path.join(temporary_directory(), "log")
    vm = LoggedVm("-D", log, "-d", "info")
    vm.connect()
    tap.wait_until(lambda: "connected" in pathlib.Path(log).read_text(), "the line in the file")


@tap.test("the reason why there is no VM has the weight of an error")
def _():
    vm = LoggedVm("-bios", "/nonexistent")
    tap.equal(vm.process.wait(10), 1, "exit status")
    tap.equal(vm.stderr().startswith("<3>halcyond: "), True, vm.stderr())


# -- on stderr ------------------------------------------------------------------------------------

LEVELS = [("default", [], []), ("error", ["-d", "error"], []), ("off", ["-d", "off"], []),
          ("info", ["-d", "info"], ["connected", "command stop"]),
          ("debug", ["-d", "debug"], ["connected", "command query-status", "command stop"])]


@tap.test("-d chooses what is said on stderr", each=[(level[0], level) for level in LEVELS])
def _(level):
    _, words, expected = level
    vm, client = start("soft", guests.spin(), *words)
    client.command("query-status")
    client.command("stop")
    client.command("quit")
    vm.expect_exit(0)
    said = [text for text in ("connected", "command query-status", "command stop") if text in vm.daemon.stderr()]
    tap.equal(said, expected, "what was said")


@tap.test("warnings are said by default, and errors only with -d error", each=["default", "error"])
def _(level):
    vm, client = start("soft", guests.pages(), "-S", *([] if level == "default" else ["-d", level]))
    client.command("cont")
    client.wait_event("STOP")
    tap.equal("halcyond: warning: vCPU 0 cannot go on" in vm.daemon.stderr(), level == "default", vm.daemon.stderr())


@tap.test("-d help lists the levels; another word is refused")
def _():
    tap.equal(run_to_end(["-d", "help"]).stdout, "Log levels:\ndebug\ninfo\nwarning\nerror\noff\n", "levels")
    refused = run_to_end(["-d", "much"])
    tap.equal((refused.returncode, refused.stderr.startswith("halcyond: -d much: ")), (1, True), refused.stderr)


@tap.test("the address of a TCP client is said")
def _():
    vm, client = start("soft", guests.spin(), "-d", "info", "-S",
                       "-chardev", "socket,id=net,host=127.0.0.1,port=0,server=on,wait=off",
                       "-serial", "chardev:net")
    name = next(entry["filename"] for entry in client.command("query-chardev") if entry["label"] == "net")
    port = int(name.split(",")[0].rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as peer:
        address, number = peer.getsockname()
        tap.wait_until(lambda: f"chardev 'net': connected with {address}:{number}" in vm.daemon.stderr(), "the line")


@tap.test("a client that comes and goes all the time does not fill the log")
def _():
    vm = Vm("soft", guests.spin(), "-d", "info")
    for _ in range(100):
        client = QmpClient.connect(vm.daemon.paths[0])
        client.expect_greeting()
        client.close()
    client = vm.connect()
    client.command("quit")
    vm.expect_exit(0)
    lines = vm.daemon.stderr().splitlines()
    connected = [line for line in lines if "connected with" in line]
    # Ten at once, then ten more each five seconds.
    tap.equal(len(connected) >= 10, True, f"{len(connected)} of 100")
    tap.equal(len(connected) <= 50, True, f"{len(connected)} of 100")


if __name__ == "__main__":
    tap.main()
