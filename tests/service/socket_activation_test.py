#!/usr/bin/env python3
"""Sockets that the daemon is started with (LISTEN_FDS), passed by the real systemd-socket-activate."""

import os
import pathlib
import select
import shutil
import signal
import socket
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "qmp"))

import guests  # noqa: E402
import tap  # noqa: E402
from fixtures import (BINARY, connect, listening_socket, open_files, options, run_to_end,  # noqa: E402
                      start, temporary_directory, write_file)
from qmp_client import QmpClient  # noqa: E402

ACTIVATE = shutil.which("systemd-socket-activate")


class Activated:
    """A daemon that systemd-socket-activate starts when the first client connects."""

    def __init__(self, *extra, names="qmp", sockets=1):
        if ACTIVATE is None:
            tap.skip("systemd-socket-activate is not installed")
        directory = temporary_directory()
        self.paths = [os.path.join(directory, f"{number}.sock") for number in range(sockets)]
        self.stderr_path = os.path.join(directory, "stderr")
        listen = [word for path in self.paths for word in ("-l", path)]
        bios = write_file("bios.bin", guests.spin())
        with open(self.stderr_path, "wb") as stderr:
            self.process = subprocess.Popen(
                [ACTIVATE, *listen, f"--fdname={names}", BINARY,
                 *options("soft", "-bios", bios, *extra)], stdin=subprocess.DEVNULL, stderr=stderr)
        tap.cleanup(self.kill)
        for path in self.paths:
            tap.wait_until(lambda path=path: os.path.exists(path), "the socket", 10)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def connect(self, number=0):
        return connect(self.paths[number], process=self.process)

    def stderr(self):
        return pathlib.Path(self.stderr_path).read_text()

    def expect_exit(self, status):
        tap.equal(self.process.wait(10), status, self.stderr())


@tap.test("the socket called qmp is a monitor; who connects before the VM is up is served")
def _():
    vm = Activated()
    client = vm.connect()
    tap.equal(client.command("query-status")["status"], "running", "status")
    tap.equal(client.command("query-chardev")[0]["filename"], "fd:3,server=on", "its back end")
    client.command("quit")
    vm.expect_exit(0)


@tap.test("all who connected before the VM is up are served, one after the other")
def _():
    vm = Activated()
    clients = [QmpClient.connect(vm.paths[0]) for _ in range(3)]
    for client in clients:
        tap.cleanup(client.close)
        client.negotiate()
        tap.equal(client.command("query-status")["running"], True, "running")
        client.close()
    vm.connect().command("quit")
    vm.expect_exit(0)


@tap.test("the socket's file stays: it is not the daemon's", each=["quit", "SIGTERM"])
def _(how):
    vm = Activated()
    client = vm.connect()
    if how == "quit":
        client.command("quit")
    else:
        os.kill(vm.process.pid, signal.SIGTERM)
    vm.expect_exit(0)
    tap.equal(os.path.exists(vm.paths[0]), True, "the file exists")


@tap.test("who still waits is turned away at an end as it was asked for, and does not stay in the queue",
          each=["quit", "SIGTERM"])
def _(how):
    path = os.path.join(temporary_directory(), "qmp.sock")
    listener = listening_socket(path)
    vm, client = start("soft", guests.spin(), "-qmp", f"fd={listener.fileno()},server=on,wait=off",
                       pass_fds=[listener.fileno()])
    connect(path)
    connect(path, negotiate=False)
    if how == "quit":
        client.command("quit")
    else:
        os.kill(vm.pid, signal.SIGTERM)
    vm.expect_exit(0)
    tap.equal(select.select([listener], [], [], 0)[0], [], "the queue")


@tap.test("several sockets called qmp are as many monitors")
def _():
    vm = Activated(names="qmp:qmp", sockets=2)
    clients = [vm.connect(number) for number in (0, 1)]
    clients[0].command("stop")
    clients[1].wait_event("STOP")
    clients[1].command("quit")
    vm.expect_exit(0)


@tap.test("a socket of another name is refused, unless an option uses it")
def _():
    vm = Activated(names="console")
    # Starts it; the daemon goes without an answer.
    QmpClient.connect(vm.paths[0]).close()
    tap.equal(vm.process.wait(10), 1, "exit status")
    tap.equal("LISTEN_FDS: descriptor 3 is called 'console', and no option uses it" in vm.stderr(), True,
              vm.stderr())


@tap.test("a socket of another name serves the option that names its descriptor")
def _():
    vm = Activated("-serial", "fd=4,server=on,wait=off", names="qmp:console", sockets=2)
    client = vm.connect()
    tap.equal({entry["label"]: entry["filename"] for entry in client.command("query-chardev")},
              {"compat_monitor0": "fd:3,server=on", "serial0": "disconnected:fd:4,server=on"},
              "back ends")


@tap.test("a socket that does not listen is refused with its number")
def _():
    vm = Activated("-qmp", "fd=0,server=on,wait=off")
    QmpClient.connect(vm.paths[0]).close()
    tap.equal(vm.process.wait(10), 1, "exit status")
    tap.equal("fd=0" in vm.stderr(), True, vm.stderr())


@tap.test("with -daemonize the socket goes to the background")
def _():
    pidfile = os.path.join(temporary_directory(), "pid")
    vm = Activated("-daemonize", "-pidfile", pidfile)
    client = vm.connect()
    vm.expect_exit(0)
    tap.cleanup(lambda: os.kill(child, signal.SIGKILL) if os.path.exists(pidfile) else None)
    child = int(pathlib.Path(pidfile).read_text())
    client.command("quit")
    client.receive_until_closed()
    tap.equal(os.path.exists(vm.paths[0]), True, "the file exists")


@tap.test("the environment of sockets that are meant for another process is left alone")
def _():
    vm, client = start("soft", guests.spin(), environment={
        "LISTEN_FDS": "1", "LISTEN_FDNAMES": "qmp", "LISTEN_PID": "1"})
    tap.equal(len(client.command("query-chardev")), 1, "back ends")
    client.command("quit")
    vm.expect_exit(0)


@tap.test("passed sockets are closed on exec, and gone with the VM's end")
def _():
    vm = Activated()
    client = vm.connect()
    flags = pathlib.Path(f"/proc/{vm.process.pid}/fdinfo/3").read_text()
    octal = next(line.split()[1] for line in flags.splitlines() if line.startswith("flags:"))
    tap.equal(bool(int(octal, 8) & os.O_CLOEXEC), True, f"FD_CLOEXEC in {octal}")
    tap.equal(any("socket:" in name for name in open_files(vm.process.pid)), True, "open sockets")
    client.command("quit")
    vm.expect_exit(0)


@tap.test("-qmp fd=N is a monitor on an inherited socket, listening or connected", each=["listening", "connected"])
def _(kind):
    if kind == "listening":
        path = os.path.join(temporary_directory(), "qmp.sock")
        listener = listening_socket(path)
        start("soft", guests.spin(), "-qmp", f"fd={listener.fileno()},server=on,wait=off",
              pass_fds=[listener.fileno()])
        client = connect(path)
    else:
        ours, theirs = socket.socketpair()
        start("soft", guests.spin(), "-qmp", f"fd={theirs.fileno()}", pass_fds=[theirs.fileno()])
        theirs.close()
        client = QmpClient(ours)
        tap.cleanup(client.close)
        client.negotiate()
    tap.equal(client.command("query-status")["running"], True, "running")


@tap.test("-help and -version do not look at passed sockets", each=["-help", "-version"])
def _(option):
    # Of the parent's making, with a number that is sure to be none.
    result = run_to_end([option], env={**os.environ, "LISTEN_FDS": "1", "LISTEN_PID": "1"})
    tap.equal((result.returncode, result.stderr), (0, ""), "exit status and stderr")


if __name__ == "__main__":
    tap.main()
