#!/usr/bin/env python3
"""The shipped units: systemd understands them, and thinks them well locked up.

HALCYON_UNITS is the directory with the units as they are installed.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "qmp"))

import guests  # noqa: E402
import tap  # noqa: E402
from fixtures import ACCELS, BINARY, need, start, temporary_directory, write_file  # noqa: E402

SOURCES = HERE.parent.parent / "systemd"
UNITS = pathlib.Path(os.environ.get("HALCYON_UNITS", SOURCES))
SERVICE, SOCKET = "halcyon@.service", "halcyon@.socket"


def analyze(*arguments, **keywords):
    program = shutil.which("systemd-analyze")
    if program is None:
        tap.skip("systemd-analyze is not installed")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False,
                          timeout=20, **keywords)


def unit_lines(name):
    """The unit's settings in order, as pairs; comments and sections left out."""
    return [tuple(line.split("=", 1)) for line in (UNITS / name).read_text().splitlines()
            if "=" in line and not line.startswith(("#", "["))]


def units_with_program(program):
    """A directory with the units, whose programs are where they can be found now."""
    directory = pathlib.Path(temporary_directory())
    for name in (SERVICE, SOCKET):
        text = (UNITS / name).read_text()
        text = re.sub(r"^(ExecStart|ExecStop)=\S+", rf"\1={program}", text, flags=re.MULTILINE)
        (directory / name).write_text(text)
    return directory


@tap.test("systemd-analyze verify has nothing to say", each=[SERVICE, SOCKET])
def _(name):
    directory = units_with_program(os.path.abspath(BINARY))
    result = analyze("verify", "--man=no", f"./{name}", cwd=directory)
    tap.equal((result.returncode, result.stderr), (0, ""), "exit status and stderr")


@tap.test("systemd-analyze verify finds a program that is not there")
def _():
    directory = units_with_program("/nonexistent/halcyond")
    result = analyze("verify", "--man=no", f"./{SERVICE}", cwd=directory)
    tap.equal("/nonexistent/halcyond" in result.stderr, True, result.stderr)


def exposure(directory):
    result = analyze("security", "--offline=yes", "--no-pager", f"./{SERVICE}", cwd=directory)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", result.stdout)
    tap.equal(bool(found), True, result.stdout + result.stderr)
    return float(found.group(1))


@tap.test("systemd-analyze security: an exposure of at most 2.0")
def _():
    value = exposure(UNITS)
    tap.diagnose(f"exposure: {value}")
    tap.equal(value <= 2.0, True, f"{value} is at most 2.0")


@tap.test("systemd-analyze security sees what is left out")
def _():
    directory = pathlib.Path(temporary_directory())
    text = (UNITS / SERVICE).read_text()
    (directory / SERVICE).write_text(text.replace("NoNewPrivileges=yes\n", "")
                                     .replace("CapabilityBoundingSet=\n", ""))
    tap.equal(exposure(directory) > 2.0, True, "without two of its settings it is more than 2.0")


@tap.test("no placeholder is left", each=[SERVICE, SOCKET])
def _(name):
    tap.equal(re.findall(r"@[a-z]+@", (UNITS / name).read_text()), [], "placeholders")


@tap.test("the service's command line is taken, with the example as its options")
def _():
    command = dict(unit_lines(SERVICE))["ExecStart"].split()[1:]
    options = write_file("web.conf", (SOURCES / "example.conf").read_bytes()
                         .replace(b"-m 512", b"-m 16").replace(b"mshv:kvm:soft", b"soft"))
    words = [options if word.endswith("/%i.conf") else word.replace("%i", "web") for word in command]
    tap.equal(options in words, True, f"the options' file is in {command}")
    vm, client = start("soft", guests.spin(), "-S", *words)
    tap.equal(client.command("query-name"), {"name": "web"}, "name")
    client.command("quit")
    vm.expect_exit(0)


@tap.test("a stop asks the guest, and may take as long as that takes")
def _():
    settings = dict(unit_lines(SERVICE))
    tap.equal(settings["ExecStop"].split()[1:], ["%i", "stop-service"], "the command")
    grace = re.search(r"HALCYON_STOP_TIMEOUT=(\d+)", settings["Environment"]).group(1)
    # Ten seconds for the greeting, five for the end, and some for a machine under load.
    tap.equal(int(settings["TimeoutStopSec"]) >= int(grace) + 10 + 5 + 10, True, "the time")


@tap.test("each hole in the sandbox has its reason beside it",
          each=["PrivateDevices", "PrivateUsers", "PrivateNetwork"])
def _(setting):
    tap.equal(setting in dict(unit_lines(SERVICE)), False, f"{setting} is set")
    text = (UNITS / SERVICE).read_text()
    tap.equal(re.search(rf"Not {setting}=[,:]", text) is not None, True, "the reason")


@tap.test("the socket is called what the daemon looks for, and is its owner's only")
def _():
    socket = dict(unit_lines(SOCKET))
    tap.equal((socket["FileDescriptorName"], socket["SocketMode"]), ("qmp", "0600"), "settings")
    tap.equal(socket["SocketUser"], dict(unit_lines(SERVICE))["User"], "the owner")


@tap.test("halcyonctl has a socket of its own, which another client cannot keep from it")
def _():
    paths = [value for name, value in unit_lines(SOCKET) if name == "ListenStream"]
    tap.equal(paths, ["/run/halcyon/%i.sock", "/run/halcyonctl/%i.sock"], "sockets")


def system_calls(*words):
    """These calls, and those of systemd's sets among the words, inner sets included."""
    calls = {word for word in words if not word.startswith("@")}
    sets = [word for word in words if word.startswith("@")]
    for line in analyze("syscall-filter", *sets).stdout.splitlines() if sets else []:
        word = line.strip()
        if word.startswith("@") and word not in sets:
            calls |= system_calls(word)
        elif re.fullmatch(r"[a-z0-9_]+", word):
            calls.add(word)
    return calls


@tap.test("every call that a VM makes from start to quit is let through", each=ACCELS)
def _(accel):
    need(accel)
    if shutil.which("strace") is None:
        tap.skip("strace is not installed")
    log = os.path.join(temporary_directory(), "strace")
    bios = write_file("bios.bin", guests.powers_off())
    traced = subprocess.run(
        ["strace", "-f", "-qq", "-o", log, "-e", "signal=none", BINARY, "-accel", accel, "-m", "16",
         "-nodefaults", "-bios", bios, "-smp", "2", "-serial", "pty", "-qmp",
         "tcp:127.0.0.1:0,server=on,wait=off"], stdin=subprocess.DEVNULL, capture_output=True,
        text=True, check=False, timeout=20)
    if "ptrace" in traced.stderr:
        tap.skip(f"strace cannot trace here: {traced.stderr.splitlines()[0]}")
    tap.equal(traced.returncode, 0, traced.stderr)
    made = set(re.findall(r"^\d+ +([a-z0-9_]+)\(", pathlib.Path(log).read_text(), re.MULTILINE))
    # The start of the process itself comes before the filter.
    made -= {"execve", "arch_prctl"}
    filters = [value for name, value in unit_lines(SERVICE) if name == "SystemCallFilter"]
    allowed = system_calls("@default")
    for value in filters:
        if value.startswith("~"):
            allowed -= system_calls(*value[1:].split())
        else:
            allowed |= system_calls(*value.split())
    tap.equal(len(made) > 20, True, f"strace saw {sorted(made)}")
    tap.equal(sorted(made - allowed), [], "calls that would fail")


if __name__ == "__main__":
    tap.main()
