#!/usr/bin/env python3
"""What the service manager is told (sd_notify), from start to end."""

import calendar
import errno
import os
import pathlib
import signal
import socket
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "qmp"))

import guests  # noqa: E402
import tap  # noqa: E402
from fixtures import (ACCELS, BINARY, Vm, connect, listening_socket, options, run_to_end,  # noqa: E402
                      temporary_directory, write_file)
from notify import NotifySocket  # noqa: E402


def start_watched(accel, *extra, image=None, **keywords):
    manager = NotifySocket()
    vm = Vm(accel, image or guests.spin(), *extra, environment=manager.environment, **keywords)
    return manager, vm


def expect_status(manager, text):
    tap.equal(manager.wait_for("STATUS")["STATUS"], text, "STATUS")


@tap.test("READY=1 with the status of the run state", each=ACCELS)
def _(accel):
    manager, vm = start_watched(accel, "-smp", "4")
    tap.equal(manager.wait_for("READY"),
              {"READY": "1", "STATUS": f"running, 4 vCPUs, {accel}, 16 MiB"}, "message")
    tap.equal(manager.sender, vm.pid, "its sender")


@tap.test("the status says since when, in local time")
def _():
    manager = NotifySocket()
    began = int(time.time())
    vm = Vm("soft", guests.spin(), environment={**manager.environment, "TZ": "XXX-5"})
    manager.wait_for("READY")
    told = time.strptime(manager.since, "%a %Y-%m-%d %H:%M:%S XXX")
    tap.equal(began <= calendar.timegm(told) - 5 * 3600 <= time.time(), True, manager.since)
    vm.connect().command("stop")
    manager.wait_for("STATUS", "paused, 1 vCPU, soft, 16 MiB")
    again = time.strptime(manager.since, "%a %Y-%m-%d %H:%M:%S XXX")
    tap.equal(again >= told, True, manager.since)


@tap.test("READY=1 with -S and --preconfig: parked is as it should be", each=["-S", "--preconfig"])
def _(option):
    manager, vm = start_watched("soft", option)
    tap.equal(manager.wait_for("READY")["STATUS"], "prelaunch, 1 vCPU, soft, 16 MiB", "STATUS")
    tap.equal(vm.connect().command("query-status")["status"], "prelaunch", "status")


@tap.test("READY=1 for a machine without CPUs")
def _():
    manager, _ = start_watched("soft", "-machine", "none")
    tap.equal(manager.wait_for("READY")["STATUS"], "running, no machine", "STATUS")


@tap.test("at READY=1 the socket listens and the guest runs", each=ACCELS)
def _(accel):
    path = os.path.join(temporary_directory(), "qmp.sock")
    manager, _ = start_watched(accel, "-qmp", f"unix:{path},server=on,wait=off")
    manager.wait_for("READY")
    listener = socket.socket(socket.AF_UNIX)
    listener.connect(path)
    listener.close()
    tap.equal(connect(path).command("query-status")["status"], "running", "status")


@tap.test("an end that was asked for before the guest has started is told as one of a ready machine",
          each=ACCELS)
def _(accel):
    path = os.path.join(temporary_directory(), "qmp.sock")
    listener = listening_socket(path)
    client = connect(path, negotiate=False)
    client.send({"execute": "qmp_capabilities"})
    client.send({"execute": "quit"})
    manager = NotifySocket()
    vm = Vm(accel, guests.spin(), "-smp", "4", "-qmp",
            f"fd={listener.fileno()},server=on,wait=off",
            environment=manager.environment, pass_fds=[listener.fileno()])
    vm.expect_exit(0)
    messages = [name for message in manager.rest() for name in message
                if name in ("READY", "STOPPING")]
    tap.equal(messages, ["READY", "STOPPING"], "messages")


@tap.test("READY=1 does not come while a client is waited for; the status says so")
def _():
    path = os.path.join(temporary_directory(), "qmp.sock")
    manager, _ = start_watched("soft", "-qmp", f"unix:{path},server=on,wait=on")
    tap.equal(manager.receive()["STATUS"],
              f"waiting for a client of -qmp unix:{path},server=on,wait=on", "STATUS")
    client = connect(path, negotiate=False)
    tap.equal("READY" in manager.receive(), True, "READY follows")
    client.negotiate()


@tap.test("the status follows the run state", each=ACCELS)
def _(accel):
    manager, vm = start_watched(accel)
    tail = f", 1 vCPU, {accel}, 16 MiB"
    manager.wait_for("READY")
    client = vm.connect()
    for command, state in (("stop", "paused"), ("cont", "running"), ("stop", "paused"),
                           ("system_reset", "prelaunch"), ("cont", "running")):
        client.command(command)
        expect_status(manager, state + tail)


@tap.test("the status of a guest that has switched itself off, with -no-shutdown")
def _():
    manager, vm = start_watched("soft", "-no-shutdown", image=guests.powers_off())
    manager.wait_for("READY")
    expect_status(manager, "shutdown, 1 vCPU, soft, 16 MiB")
    vm.connect().command("quit")
    manager.wait_for("STOPPING")


@tap.test("STOPPING=1 once, before the end", each=["quit", "SIGTERM", "guest"])
def _(how):
    image = guests.powers_off() if how == "guest" else guests.spin()
    manager, vm = start_watched("soft", "-S", image=image)
    manager.wait_for("READY")
    client = vm.connect()
    if how == "SIGTERM":
        os.kill(vm.pid, signal.SIGTERM)
    else:
        client.command("quit" if how == "quit" else "cont")
    tap.equal(manager.wait_for("STOPPING"),
              {"STOPPING": "1", "STATUS": "stopping, 1 vCPU, soft, 16 MiB"}, "message")
    vm.expect_exit(0)
    tap.equal([message for message in manager.rest() if "STOPPING" in message], [], "more of it")


@tap.test("the end comes with STOPPING=1 even before READY=1 could", each=["soft"])
def _(accel):
    path = os.path.join(temporary_directory(), "qmp.sock")
    manager, vm = start_watched(accel, "-qmp", f"unix:{path},server=on,wait=on")
    manager.receive()
    os.kill(vm.pid, signal.SIGTERM)
    vm.expect_exit(0)
    tap.equal([message for message in manager.rest() if "READY" in message], [], "READY")


@tap.test("-daemonize: MAINPID is the child's, told before the parent exits; READY=1 is from there")
def _():
    manager = NotifySocket()
    directory = temporary_directory()
    pidfile = os.path.join(directory, "pid")
    path = os.path.join(directory, "qmp.sock")
    result = run_to_end(options("soft", "-bios", write_file("bios.bin", guests.spin()), "-daemonize",
                                "-pidfile", pidfile, "-qmp", f"unix:{path},server=on,wait=off"),
                        env={**os.environ, **manager.environment})
    tap.equal(result.returncode, 0, result.stderr)
    child = int(pathlib.Path(pidfile).read_text())
    tap.cleanup(lambda: os.kill(child, signal.SIGKILL) if os.path.exists(pidfile) else None)
    tap.equal(manager.receive(0.0), {"MAINPID": str(child)}, "message")
    manager.wait_for("READY")
    tap.equal(manager.sender, child, "the sender of READY")
    connect(path).command("quit")
    manager.wait_for("STOPPING")


FAILURES = [
    ("a bad option", ["-smp", "0"], errno.EINVAL, "-smp 0"),
    ("a firmware that is missing", ["-bios", "/nonexistent"], errno.ENOENT, "/nonexistent"),
    ("an accelerator that is missing", ["-accel", "mshv"], errno.EOPNOTSUPP, "no accelerator works"),
    ("a pidfile that cannot be", ["-pidfile", "/nonexistent/pid"], errno.ENOENT, "-pidfile"),
    ("a file of options", ["-options-file", "/nonexistent"], errno.EINVAL, "-options-file"),
]


@tap.test("a failure to start is told with ERRNO and its reason", each=[(f[0], f) for f in FAILURES])
def _(case):
    _, words, number, text = case
    if "mshv" in words and os.path.exists("/dev/mshv"):
        tap.skip("there is a /dev/mshv")
    manager = NotifySocket()
    arguments = ["-nodefaults", "-m", "16", "-bios", write_file("bios.bin", guests.spin())]
    arguments += [] if "mshv" in words else ["-accel", "soft"]
    result = run_to_end([*arguments, *words], env={**os.environ, **manager.environment})
    tap.equal(result.returncode, 1, "exit status")
    message, = manager.rest()
    tap.equal(message["ERRNO"], str(number), f"ERRNO with {message}")
    tap.equal(text in message["STATUS"], True, message["STATUS"])
    tap.equal(result.stderr, f"halcyond: {message['STATUS']}\n", "stderr")


@tap.test("a notify socket in the abstract name space")
def _():
    manager = NotifySocket(abstract=True)
    Vm("soft", guests.spin(), environment=manager.environment)
    manager.wait_for("READY")


@tap.test("a notify socket at which nobody listens changes nothing")
def _():
    vm = Vm("soft", guests.spin(), environment={"NOTIFY_SOCKET": "/nonexistent/notify"})
    vm.connect().command("quit")
    vm.expect_exit(0)
    tap.equal(vm.daemon.stderr(), "", "stderr")


@tap.test("without a service manager nothing is sent")
def _():
    manager = NotifySocket()
    vm = Vm("soft", guests.spin())
    vm.connect().command("quit")
    vm.expect_exit(0)
    tap.equal(manager.rest(), [], "messages")


if __name__ == "__main__":
    tap.main()
