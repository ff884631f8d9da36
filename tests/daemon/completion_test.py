#!/usr/bin/env python3
"""What bash completes on halcyond's command line. Takes the completion file."""

import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "qmp"))
import tap  # noqa: E402

COMPLETION = os.path.abspath(sys.argv.pop(1))
SCRIPT = """
source "$1" || exit
COMP_LINE=$2 COMP_POINT=${#2}
_halcyond
printf '%s\\n' "${COMPREPLY[@]}"
"""


def completed(line, directory=None):
    """The candidates at the end of a line, sorted."""
    result = subprocess.run(["bash", "--norc", "-c", SCRIPT, "bash", COMPLETION, line], check=True,
                            capture_output=True, text=True, cwd=directory)
    tap.equal(result.stderr, "", f"errors at {line!r}")
    return sorted(word for word in result.stdout.split("\n") if word)


# What is typed, and the candidates.
CASES = [
    ("halcyond -sm", ["-smp"]),
    ("halcyond --sm", ["--smp"]),
    ("halcyond -no", ["-no-reboot", "-no-shutdown", "-no-user-config", "-nodefaults", "-nographic"]),
    ("halcyond -S -q", ["-qmp", "-qmp-pretty", "-quit-timeout"]),
    ("halcyond -cpu ", ["help", "host", "max"]),
    ("halcyond --cpu h", ["help", "host"]),
    ("halcyond -accel s", ["soft"]),
    ("halcyond -machine ", ["accel=", "graphics=", "help", "hpet=", "none", "nvdimm=", "pc", "smm=",
                            "type=", "usb=", "vmport="]),
    ("halcyond -M pc,us", ["pc,usb="]),
    ("halcyond -machine pc,usb=o", ["off", "on"]),
    ("halcyond -chardev soc", ["socket"]),
    ("halcyond -chardev socket,id=a,ser", ["socket,id=a,server="]),
    ("halcyond -serial u", ["unix:"]),
    ("halcyond -uuid ", []),
    ("halcyond -quit-timeout ", []),
]


@tap.test("bash completes", each=[(row[0], row) for row in CASES])
def _(row):
    line, expected = row
    found = completed(line)
    # Bash replaces what is behind the last ':' or '='.
    typed = line.split(" ")[-1]
    kept = typed[:max(typed.rfind(":"), typed.rfind("=")) + 1]
    tap.equal(found, [word.removeprefix(kept) for word in expected], "candidates")


@tap.test("bash completes files, alone and within an argument")
def _():
    with tempfile.TemporaryDirectory() as directory:
        for name in ("bios.bin", "my disk.img"):
            pathlib.Path(directory, name).touch()
        tap.equal(completed("halcyond -bios b", directory), ["bios.bin"], "-bios")
        tap.equal(completed("halcyond -bios ", directory), ["bios.bin", "my disk.img"], "-bios, all")
        tap.equal(completed("halcyond -serial file:b", directory), ["bios.bin"], "-serial")
        tap.equal(completed("halcyond -chardev file,id=x,path=b", directory), ["bios.bin"], "-chardev")


@tap.test("every option can be completed, and only those there are")
def _():
    words = completed("halcyond ")
    tap.equal("-smp" in words and "-help" in words and "-h" in words, True, "options")
    tap.equal(words, completed("halcyond -S "), "behind an option without argument")


if __name__ == "__main__":
    tap.main()
