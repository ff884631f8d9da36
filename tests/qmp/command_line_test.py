#!/usr/bin/env python3
"""The command line: bad input gets one line on stderr and exit status 1 before anything is made."""

import os
import re
import signal
import socket
import subprocess
import time

import guests
import tap
from fixtures import (BINARY, KVM, Vm, connect, halcyond_only, listening_socket, options,
                      run_to_end, start, temporary_directory, write_file)
from qmp_client import Daemon, QmpClient

MACHINE_NONE = ["-machine", "none", "-nodefaults", "-display", "none"]


def expect_refusal(arguments, *words, timeout=10.0):
    """One line on stderr with these words, exit status 1, nothing on stdout."""
    result = run_to_end(arguments, timeout)
    lines = result.stderr.splitlines()
    tap.equal(result.returncode, 1, f"exit status (stderr: {result.stderr!r})")
    tap.equal(len(lines), 1, f"lines on stderr: {lines}")
    for word in words:
        tap.equal(word in lines[0], True, f"{word!r} is named in {lines[0]!r}")
    tap.equal(result.stdout, "", "stdout")
    return lines[0]


# The arguments, then words that the message must have.
BAD = [
    (["-bogus"], "bogus"),
    (["--bogus"], "bogus"),
    (["-bogus=1"], "bogus"),
    (["disk.img"], "disk.img"),
    (["-smp"], "smp"),
    (["-smp", "0"], "smp"),
    (["-smp", "-1"], "smp"),
    (["-smp", "two"], "smp"),
    (["-smp", "2x"], "smp"),
    (["-smp", ""], "smp"),
    (["-smp", "256"], "smp"),
    (["-smp", "99999999999999999999"], "smp"),
    (["-smp", "2,bogus=1"], "smp"),
    (["-m"], "m"),
    (["-m", "0"], "-m"),
    (["-m", "-5"], "-m"),
    (["-m", "much"], "-m"),
    (["-m", "1Q"], "-m"),
    (["-m", ""], "-m"),
    (["-m", "99999999999999999999999"], "-m"),
    (["-m", "18446744073709551615G"], "-m"),
    (["-accel", "nope"], "accel", "nope"),
    (["-accel", ""], "accel"),
    (["-accel", "kvm:nope"], "accel", "nope"),
    (["-machine", "nope"], "nope"),
    (["-M", "nope"], "nope"),
    (["-machine", "pc,bogus=1"], "bogus"),
    (["-qmp"], "qmp"),
    (["-qmp", "unix:"], "qmp"),
    (["-qmp", "carrier-pigeon:x"], "qmp"),
    (["-qmp", "unix:/tmp/x,server=maybe"], "server"),
    (["-qmp", "unix:/tmp/x,bogus=1"], "bogus"),
    (["-qmp", "unix:/tmp/x,server=on,wait=perhaps"], "wait"),
    (["-qmp", "unix:/proc/nonexistent/x,server=on,wait=off"], "/proc/nonexistent/x"),
    (["-chardev", "socket"], "chardev"),
    (["-chardev", "null"], "chardev"),
    (["-chardev", "nope,id=a"], "nope"),
    (["-chardev", "null,id=a,bogus=1"], "bogus"),
    (["-chardev", "null,id=a", "-chardev", "null,id=a"], "a"),
    (["-chardev", "file,id=a"], "path"),
    (["-chardev", "file,id=a,path=/proc/nonexistent/x"], "/proc/nonexistent/x"),
    (["-chardev", "socket,id=a,fd=99,server=on"], "99"),
    (["-chardev", "socket,id=a,fd=x,server=on"], "fd"),
    (["-chardev", "socket,id=a,fd=0,server=on"], "fd"),
    (["-mon", "chardev=nobody"], "nobody"),
    (["-mon", "mode=control"], "chardev"),
    (["-serial", "carrier-pigeon"], "serial"),
    (["-serial", "chardev:nobody"], "nobody"),
    (["-serial", "file:/proc/nonexistent/x"], "/proc/nonexistent/x"),
    (["-debugcon", "carrier-pigeon"], "debugcon"),
    (["-debugcon", "file:/proc/nonexistent/x"], "/proc/nonexistent/x"),
    (["-uuid", "1234"], "uuid"),
    (["-uuid", "12345678-9abc-def0-1234-56789abcdefg"], "uuid"),
    (["-name"], "name"),
    (["-pidfile", "/proc/nonexistent/pid"], "/proc/nonexistent/pid"),
    (["-D", "/proc/nonexistent/log"], "/proc/nonexistent/log"),
    (["--quit-timeout", "soon"], "quit-timeout"),
    (["--quit-timeout", "-1"], "quit-timeout"),
    (["--quit-timeout"], "quit-timeout"),
    (["-display", "hologram"], "display"),
    (["-bios"], "bios"),
]


@tap.test("is refused in one line", each=[(" ".join(case[0]) or "-", case) for case in BAD])
def _(case):
    halcyond_only()
    arguments, *words = case
    bios = write_file("bios.bin", guests.halt_loop())
    # The bad option comes last, so what it says must win over everything before it.
    expect_refusal(["-accel", "soft", "-m", "16", "-bios", bios, *arguments], *words)


@tap.test("a bad option is found before anything is created")
def _():
    halcyond_only()
    directory = temporary_directory()
    names = {name: os.path.join(directory, name) for name in ("sock", "pid", "log", "out")}
    expect_refusal(["-qmp", f"unix:{names['sock']},server=on,wait=off", "-pidfile", names["pid"],
                    "-D", names["log"], "-debugcon", f"file:{names['out']}", "-bogus"], "bogus")
    tap.equal(os.listdir(directory), [], "files made")


@tap.test("a firmware file that is missing")
def _():
    halcyond_only()
    expect_refusal(["-accel", "soft", "-bios", "/proc/nonexistent/bios.bin"], "/proc/nonexistent/bios.bin")


FIRMWARE = [("empty", 0), ("one byte", 1), ("not whole pages", 65535), ("too large", 32 << 20)]


@tap.test("a firmware file of a wrong size", each=FIRMWARE)
def _(size):
    halcyond_only()
    path = write_file("bad.bin", b"\xf4" * size)
    expect_refusal(["-accel", "soft", "-bios", path], path)


@tap.test("a firmware file that is a directory")
def _():
    halcyond_only()
    path = temporary_directory()
    expect_refusal(["-accel", "soft", "-bios", path], path)


@tap.test("a failure to start leaves no socket file behind")
def _():
    halcyond_only()
    directory = temporary_directory()
    path = os.path.join(directory, "qmp.sock")
    expect_refusal(["-accel", "soft", "-bios", "/proc/nonexistent/bios.bin", "-qmp",
                    f"unix:{path},server=on,wait=off"], "/proc/nonexistent/bios.bin")
    tap.equal(os.path.exists(path), False, "the socket file exists")


@tap.test("more memory than the host has", each=["soft", "kvm"])
def _(accel):
    halcyond_only()
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    bios = write_file("bios.bin", guests.halt_loop())
    expect_refusal([*options(accel, "-bios", bios), "-m", f"{pages * 4 >> 30}G"], "-m")


@tap.test("-accel mshv where there is no such host says why")
def _():
    halcyond_only()
    if os.path.exists("/dev/mshv"):
        tap.skip("/dev/mshv is here")
    bios = write_file("bios.bin", guests.halt_loop())
    expect_refusal(["-accel", "mshv", "-bios", bios], "mshv", "/dev/mshv")


def accelerator_of(*words):
    """Starts a VM with these options alone to choose the accelerator; whether KVM runs it."""
    bios = write_file("bios.bin", guests.halt_loop())
    daemon = Daemon(BINARY, *words, "-m", "16", "-bios", bios, "-display", "none")
    tap.cleanup(daemon.kill)
    client = daemon.connect()
    tap.cleanup(client.close)
    enabled = client.command("query-kvm")["enabled"]
    client.command("quit")
    return "kvm" if enabled else "soft"


CHOICES = [("-accel mshv:soft", ["-accel", "mshv:soft"], "soft"),
           ("-accel soft:kvm", ["-accel", "soft:kvm"], "soft"),
           ("-accel soft -accel kvm", ["-accel", "soft", "-accel", "kvm"], "soft"),
           ("-machine pc,accel=soft", ["-machine", "pc,accel=soft"], "soft"),
           ("-accel mshv:kvm:soft", ["-accel", "mshv:kvm:soft"], "kvm" if KVM else "soft"),
           ("none", [], "kvm" if KVM else "soft")]


@tap.test("the first accelerator that works is taken",
          each=[(name, (words, expected)) for name, words, expected in CHOICES])
def _(case):
    halcyond_only()
    if os.path.exists("/dev/mshv"):
        tap.skip("/dev/mshv is here")
    words, expected = case
    tap.equal(accelerator_of(*words), expected, "accelerator")


@tap.test("a socket path that another process listens on is refused, and stays its own")
def _():
    halcyond_only()
    path = os.path.join(temporary_directory(), "qmp.sock")
    listener = listening_socket(path)
    expect_refusal([*MACHINE_NONE, "-qmp", f"unix:{path},server=on,wait=off"], path)
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    probe.settimeout(5)
    probe.connect(path)
    listener.accept()[0].close()
    probe.close()


@tap.test("a socket file that nobody listens on any more is replaced")
def _():
    path = os.path.join(temporary_directory(), "qmp.sock")
    stale = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    stale.bind(path)
    stale.close()
    vm = Vm("soft", guests.spin(), "-qmp", f"unix:{path},server=on,wait=off")
    vm.connect()
    connect(path, process=vm.daemon.process).command("quit")
    vm.expect_exit(0)


@tap.test("a socket path that is too long")
def _():
    halcyond_only()
    path = os.path.join(temporary_directory(), "x" * 120)
    expect_refusal([*MACHINE_NONE, "-qmp", f"unix:{path},server=on,wait=off"], "qmp")


@tap.test("a socket path as long as can be")
def _():
    directory = temporary_directory()
    path = os.path.join(directory, "x" * (107 - len(directory) - 1))
    vm = Vm("soft", guests.spin(), "-qmp", f"unix:{path},server=on,wait=off")
    connect(path, process=vm.daemon.process).command("quit")
    vm.expect_exit(0)


@tap.test("prints its version and exits", each=["-version", "--version"])
def _(option):
    halcyond_only()
    result = run_to_end([option])
    tap.equal((result.returncode, result.stderr), (0, ""), "exit status and stderr")
    tap.equal(re.search(r"\d+\.\d+\.\d+", result.stdout) is not None, True, result.stdout)


@tap.test("prints help that names every option", each=["-help", "--help", "-h"])
def _(option):
    halcyond_only()
    result = run_to_end([option])
    tap.equal((result.returncode, result.stderr), (0, ""), "exit status and stderr")
    for name in ("-accel", "-machine", "-cpu", "-smp", "-m", "-bios", "-name", "-uuid", "-S",
                 "-preconfig", "-qmp", "-chardev", "-mon", "-serial", "-debugcon", "-no-reboot",
                 "-no-shutdown", "-pidfile", "-daemonize", "-D", "-version", "-quit-timeout"):
        tap.equal(name in result.stdout, True, f"{name} is in the help")


TAKEN = [["--smp", "2"], ["-smp", "cpus=2"], ["-smp", "2,sockets=1,cores=2,threads=1"],
         ["-m", "32"], ["-m", "32M"], ["-m", "16384K"], ["-m", "size=32M"], ["-cpu", "host"],
         ["-cpu", "max"], ["-name", "guest=sea,debug-threads=on"], ["-machine", "pc"],
         ["-M", "pc"], ["-nodefaults"], ["-no-user-config"],
         ["-display", "none"], ["-no-reboot"], ["--no-shutdown"], ["-serial", "null"],
         ["-serial", "none"], ["-debugcon", "null"], ["-chardev", "null,id=x"],
         ["-chardev", "null,id=x", "-serial", "chardev:x"], ["--quit-timeout", "2"]]


@tap.test("is taken", each=[(" ".join(words), words) for words in TAKEN])
def _(words):
    halcyond_only()
    vm, client = start("soft", guests.spin(), "-S", *words)
    tap.equal(client.command("query-status")["status"], "prelaunch", "status")
    if "2" in words[-1].split(",")[0].replace("cpus=", "") and "smp" in words[0]:
        tap.equal(len(client.command("query-cpus-fast")), 2, "vCPUs")
    client.command("quit")
    vm.expect_exit(0)


@tap.test("-smp gives so many vCPUs", each=[1, 2, 3, 8, 64])
def _(count):
    vm, client = start("soft", guests.halt_loop(), "-smp", str(count))
    tap.equal(len(client.command("query-cpus-fast")), count, "vCPUs")
    client.command("quit")
    vm.expect_exit(0)


@tap.test("-daemonize: the parent exits with 0 when the socket listens and the pidfile is there")
def _():
    directory = temporary_directory()
    path, pidfile = os.path.join(directory, "q.sock"), os.path.join(directory, "pid")
    bios = write_file("bios.bin", guests.pio_hammer())
    result = run_to_end([*options("soft", "-bios", bios), "-daemonize", "-pidfile", pidfile,
                         "-qmp", f"unix:{path},server=on,wait=off"])
    tap.equal((result.returncode, result.stderr), (0, ""), "exit status and stderr of the parent")
    with open(pidfile, encoding="ascii") as file:
        pid = int(file.read())
    tap.cleanup(lambda: _kill(pid))
    client = QmpClient.connect(path, 5)  # At the first try.
    tap.cleanup(client.close)
    client.negotiate()
    tap.equal(client.command("query-status")["status"], "running", "status")
    tap.equal(os.getsid(pid) != os.getsid(0), True, "a session of its own")
    tap.equal(os.readlink(f"/proc/{pid}/fd/1"), "/dev/null", "stdout")
    tap.equal(os.readlink(f"/proc/{pid}/fd/2"), "/dev/null", "stderr")
    thread = client.command("query-cpus-fast")[0]["thread-id"]
    tap.equal(os.path.exists(f"/proc/{pid}/task/{thread}"), True, "the vCPU thread is of the child")
    client.command("quit")
    tap.wait_until(lambda: not _alive(pid), "the daemon ended")
    tap.equal(os.path.exists(pidfile), False, "the pidfile is left")
    tap.equal(os.path.exists(path), False, "the socket is left")


@tap.test("-daemonize: a failure is told by the parent")
def _():
    halcyond_only()
    expect_refusal(["-daemonize", "-accel", "soft", "-bios", "/proc/nonexistent/bios.bin"],
                   "/proc/nonexistent/bios.bin")


@tap.test("-daemonize ends by SIGTERM as well")
def _():
    directory = temporary_directory()
    pidfile = os.path.join(directory, "pid")
    path = os.path.join(directory, "q.sock")
    bios = write_file("bios.bin", guests.pio_hammer())
    run_to_end([*options("soft", "-bios", bios), "-daemonize", "-pidfile", pidfile, "-qmp",
                f"unix:{path},server=on,wait=off"])
    with open(pidfile, encoding="ascii") as file:
        pid = int(file.read())
    tap.cleanup(lambda: _kill(pid))
    os.kill(pid, signal.SIGTERM)
    tap.wait_until(lambda: not _alive(pid), "the daemon ended")
    tap.equal(os.listdir(directory), [], "files left")


@tap.test("-pidfile has the process id and goes with the process")
def _():
    pidfile = os.path.join(temporary_directory(), "pid")
    vm, client = start("soft", guests.spin(), "-pidfile", pidfile)
    with open(pidfile, encoding="ascii") as file:
        tap.equal(file.read().strip(), str(vm.pid), "content")
    client.command("quit")
    vm.expect_exit(0)
    tap.equal(os.path.exists(pidfile), False, "the pidfile is left")


@tap.test("-D: messages go to the file, not to stderr")
def _():
    halcyond_only()
    log = os.path.join(temporary_directory(), "log")
    vm, client = start("soft", guests.spin(), "-D", log)
    client.command("quit")
    vm.expect_exit(0)
    tap.equal(os.path.exists(log), True, "the log exists")
    tap.equal(vm.daemon.stderr(), "", "stderr")


@tap.test("a healthy run says nothing on stderr", each=["soft", "kvm"])
def _(accel):
    vm, client = start(accel, guests.on_all_vcpus("pio"), "-smp", "2")
    time.sleep(0.05)
    client.command("stop")
    client.command("cont")
    client.command("quit")
    vm.expect_exit(0)
    tap.equal(vm.daemon.stderr(), "", "stderr")


@tap.test("runs with stdin, stdout and stderr closed", each=["quit", "refusal"])
def _(how):
    halcyond_only()
    path = os.path.join(temporary_directory(), "qmp.sock")
    bios = write_file("bios.bin", guests.pio_hammer())
    words = options("soft", "-bios", bios, "-qmp", f"unix:{path},server=on,wait=off")
    if how == "refusal":
        words.append("-bogus")
    with subprocess.Popen(["sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-', BINARY, *words]) as process:
        tap.cleanup(process.kill)
        if how == "refusal":
            tap.equal(process.wait(5), 1, "exit status")
            return
        client = connect(path, process=process)
        client.command("stop")
        client.command("quit")
        tap.equal(process.wait(5), 0, "exit status")


@tap.test("an inherited listening socket serves one client after another")
def _():
    vm = Vm("soft", guests.spin(), "-S")
    for _ in range(3):
        client = vm.connect()
        tap.equal(client.command("query-status")["status"], "prelaunch", "status")
        client.close()


@tap.test("an option given twice: the last one counts")
def _():
    _, client = start("soft", guests.spin(), "-S", "-smp", "3", "-smp", "2")
    tap.equal(len(client.command("query-cpus-fast")), 2, "vCPUs")


def _alive(pid):
    """Running, and not a zombie that waits for a reaper elsewhere."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


if __name__ == "__main__":
    tap.main()
