#!/usr/bin/env python3
"""The manual pages are well formed and complete, and bash completes as they say."""

import os
import re
import shutil
import subprocess

import ctl  # also says where the other modules are
import tap
from ctl import BINARY, CTL, Machine

SOURCES = ctl.HERE.parent.parent
PAGES = {"halcyonctl(1)": SOURCES / "ctl" / "halcyonctl.1",
         "halcyond(1)": SOURCES / "docs" / "halcyond.1",
         "halcyon@.service(5)": SOURCES / "systemd" / "halcyon@.service.5.in"}
COMPLETION = os.environ.get("BASH_COMPLETION", SOURCES / "ctl" / "halcyonctl.bash")


def text_of(page):
    if shutil.which("man") is None:
        tap.skip("man is not installed")
    result = subprocess.run(["man", "-l", "--warnings", page], capture_output=True, text=True,
                            check=False, env={**os.environ, "MANWIDTH": "200", "LC_ALL": "C.UTF-8",
                                              "MANPAGER": "cat", "MAN_KEEP_FORMATTING": ""})
    tap.equal((result.returncode, result.stderr), (0, ""), "exit status and warnings")
    return re.sub(".\b", "", result.stdout).replace("\u2010", "-")


@tap.test("a page is well formed", each=list(PAGES.items()))
def _(page):
    text = text_of(page)
    for section in ("NAME", "SYNOPSIS", "DESCRIPTION", "FILES", "SEE ALSO"):
        tap.equal(section in text.splitlines(), True, f"{section} in the page")


def help_of(program, option):
    return subprocess.run([program, option], capture_output=True, text=True, check=True).stdout


@tap.test("halcyond(1) has every option of -help")
def _():
    options = set(re.findall(r"^  (-[A-Za-z-]+)", help_of(BINARY, "-help"), re.MULTILINE))
    text = text_of(PAGES["halcyond(1)"])
    tap.equal(len(options) > 25, True, options)
    tap.equal([option for option in sorted(options)
               if not re.search(rf"(^|[ ,]){option}(?![\w-])", text, re.MULTILINE)], [], "missing")


@tap.test("halcyonctl(1) has every command and option of --help")
def _():
    shown = help_of(CTL, "--help")
    options = set(re.findall(r"--[a-z-]+", shown))
    commands = set(re.findall(r"^  ([a-z-]+)(?:, ([a-z-]+))?  ", shown, re.MULTILINE))
    words = options | {name for pair in commands for name in pair if name}
    tap.equal(len(words) > 15, True, words)
    text = text_of(PAGES["halcyonctl(1)"])
    tap.equal([word for word in sorted(words) if word not in text], [], "missing")


def completions(vm, line):
    """What bash offers at the end of a line."""
    script = ('source "$1"; COMP_LINE=$2; COMP_POINT=${#2}; _halcyonctl; '
              'printf "%s\\n" "${COMPREPLY[@]}"')
    result = subprocess.run(
        ["bash", "--norc", "-c", script, "bash", COMPLETION, line.replace("halcyonctl", CTL, 1)],
        capture_output=True, text=True, check=False,
        env={**ctl.clean_environment(), "HALCYON_RUNTIME_DIR": vm.directory,
             "COMP_WORDBREAKS": " \t\n\"'><=;|&(:"})
    tap.equal((result.returncode, result.stderr), (0, ""), "bash's exit status and errors")
    return result.stdout.split()


COMPLETED = [
    ("the machine", "halcyonctl ", ["web"]),
    ("a command", "halcyonctl web ringbuf-", ["ringbuf-read", "ringbuf-write"]),
    ("a command after options", "halcyonctl --json -t 3 web stop-", ["stop-service"]),
    ("an argument", "halcyonctl web ringbuf-read d", ["device="]),
    ("a value, without what bash has split off", "halcyonctl web ringbuf-read format=b",
     ["base64"]),
    ("a member", "halcyonctl web chardev-add backend.type=ringbuf backend.d", ["backend.data."]),
    ("an option", "halcyonctl --tim", ["--timeout"]),
    ("nothing after an option with a value", "halcyonctl -t ", []),
    ("nothing for a machine that is not there", "halcyonctl nobody st", []),
]


@tap.test("bash completes", each=[(row[0], row) for row in COMPLETED])
def _(row):
    tap.equal(completions(Machine("-S"), row[1]), row[2])


@tap.test("bash completes with a socket's path")
def _():
    vm = Machine("-S")
    tap.equal(completions(vm, f"halcyonctl -s {vm.socket} powerd"), ["powerdown"])


if __name__ == "__main__":
    tap.main()
