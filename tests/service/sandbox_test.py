#!/usr/bin/env python3
"""-sandbox: the threads of a running VM are restricted, and the VM does not notice."""

import os
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "qmp"))

import guests  # noqa: E402
import tap  # noqa: E402
from fixtures import ACCELS, run_to_end, start, temporary_directory, vcpu_threads  # noqa: E402


SANITIZER = os.environ.get("HALCYON_SANITIZER", "none")


def status(pid, thread):
    """The fields of /proc/PID/task/TID/status."""
    text = pathlib.Path(f"/proc/{pid}/task/{thread}/status").read_text()
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def filters(pid):
    """The seccomp mode of every thread: 0 none, 2 a filter."""
    return [status(pid, int(thread))["Seccomp"] for thread in os.listdir(f"/proc/{pid}/task")]


def need_sandbox():
    """Skips in a build without filters, or with sanitizers, which start threads and make calls of
    their own."""
    if SANITIZER != "none":
        tap.skip(f"built with the sanitizer {SANITIZER}, where the sandbox is off by default")
    result = run_to_end(["-nodefaults", "-machine", "none", "-sandbox", "on", "-qmp", "fd=99"])
    if "libseccomp" in result.stderr:
        tap.skip("built without libseccomp")


@tap.test("every thread has a filter, and no new rights", each=[
    (f"{accel}, {words or 'default'}", (accel, words)) for accel in ACCELS
    for words in ("", "-sandbox on", "-sandbox log")])
def _(case):
    need_sandbox()
    accel, words = case
    if not words and status(os.getpid(), os.getpid())["Seccomp"] != "0":
        tap.skip("this test has a filter itself")
    vm, client = start(accel, guests.spin(), "-smp", "3", *words.split())
    client.command("query-status")
    tap.equal(set(filters(vm.pid)), {"2"}, "Seccomp")
    tap.equal(len(vcpu_threads(vm.pid)), 3, "vCPU threads")
    tap.equal(status(vm.pid, vm.pid)["NoNewPrivs"], "1", "NoNewPrivs")


@tap.test("-sandbox off leaves everything open", each=ACCELS)
def _(accel):
    if status(os.getpid(), os.getpid())["Seccomp"] != "0":
        tap.skip("this test has a filter itself")
    vm, client = start(accel, guests.spin(), "-sandbox", "off")
    client.command("query-status")
    tap.equal(set(filters(vm.pid)), {"0"}, "Seccomp")
    tap.equal(status(vm.pid, vm.pid)["NoNewPrivs"], "0", "NoNewPrivs")


@tap.test("a dump, a memsave and a character device made at run time work in it", each=ACCELS)
def _(accel):
    need_sandbox()
    _, client = start(accel, guests.spin(), "-sandbox", "on")
    directory = temporary_directory()
    client.command("dump-guest-memory", paging=False, protocol=f"file:{directory}/dump")
    client.command("pmemsave", val=0, size=4096, filename=f"{directory}/memory")
    tap.equal(os.path.getsize(f"{directory}/memory"), 4096, "size")
    tap.equal(os.path.getsize(f"{directory}/dump") > 15 << 20, True, "the dump's size")
    client.command("chardev-add", id="net", backend={
        "type": "socket", "data": {"addr": {"type": "inet", "data": {"host": "localhost", "port": "0"}},
                                   "server": True, "wait": False}})
    client.command("chardev-add", id="file", backend={
        "type": "file", "data": {"out": f"{directory}/out"}})
    client.command("chardev-add", id="pty", backend={"type": "pty", "data": {}})
    tap.equal(os.path.exists(f"{directory}/out"), True, "the file")


@tap.test("QEMU's keys are taken where they deny", each=["on,obsolete=deny,elevateprivileges=deny,spawn=deny,"
                                                        "resourcecontrol=deny"])
def _(argument):
    need_sandbox()
    vm, client = start("soft", guests.spin(), "-sandbox", argument)
    client.command("quit")
    vm.expect_exit(0)


@tap.test("another word is refused", each=["maybe", "on,spawn=allow", "on,obsolete=perhaps", "enable"])
def _(argument):
    result = run_to_end(["-nodefaults", "-sandbox", argument])
    tap.equal((result.returncode, result.stderr.startswith(f"halcyond: -sandbox {argument}: ")), (1, True),
              result.stderr)


if __name__ == "__main__":
    tap.main()
