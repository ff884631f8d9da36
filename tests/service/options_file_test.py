#!/usr/bin/env python3
"""-options-file: the command line's options in a file."""

import os
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "qmp"))

import guests  # noqa: E402
import tap  # noqa: E402
from fixtures import run_to_end, start, temporary_directory, write_file  # noqa: E402

EXAMPLE = HERE.parent.parent / "systemd" / "example.conf"


def options_file(text, name="vm.conf", directory=None):
    return write_file(name, text.encode(), directory)


def start_with(text, *extra, image=None):
    return start("soft", image or guests.spin(), "-S", "-options-file", options_file(text), *extra)


def refusal(*arguments):
    """The one line with which the command line is refused."""
    result = run_to_end(["-nodefaults", *arguments])
    tap.equal((result.returncode, result.stdout), (1, ""), "exit status and stdout")
    return result.stderr.removesuffix("\n")


@tap.test("the options of a file count as those of the command line")
def _():
    vm, client = start_with("# a comment\n\n-smp 2\n  --uuid 6f9619ff-8b86-4d01-b42d-00cf4fc964ff\n")
    tap.equal(len(client.command("query-cpus-fast")), 2, "vCPUs")
    tap.equal(client.command("query-uuid")["UUID"], "6f9619ff-8b86-4d01-b42d-00cf4fc964ff", "UUID")
    client.command("quit")
    vm.expect_exit(0)


@tap.test("an argument is the rest of its line, spaces, quotes, commas and all")
def _():
    _, client = start_with('-name a "b" # c,process=vm\n')
    tap.equal(client.command("query-name"), {"name": 'a "b" # c'}, "name")


@tap.test("a path with a space in it")
def _():
    path = write_file("my firmware.bin", guests.spin())
    vm, client = start_with(f"-bios {path}\n")
    client.command("quit")
    vm.expect_exit(0)


@tap.test("what is given later counts, in the file or on the command line",
          each=[("file first", True), ("file last", False)])
def _(file_first):
    in_file = ["-options-file", options_file("-name file\n")]
    by_hand = ["-name", "hand"]
    _, client = start("soft", guests.spin(), "-S",
                      *(in_file + by_hand if file_first else by_hand + in_file))
    tap.equal(client.command("query-name"), {"name": "hand" if file_first else "file"}, "name")


@tap.test("several files, one after the other")
def _():
    _, client = start_with("-name first\n-smp 2\n", "-options-file", options_file("-name second\n"))
    tap.equal(client.command("query-name"), {"name": "second"}, "name")
    tap.equal(len(client.command("query-cpus-fast")), 2, "vCPUs")


@tap.test("a file without its last line's end, with DOS line ends, and an empty one",
          each=[("no end", b"-smp 2"), ("DOS", b"# x\r\n-smp 2\r\n\r\n"), ("empty", b"")])
def _(text):
    path = write_file("vm.conf", text)
    _, client = start("soft", guests.spin(), "-S", "-options-file", path)
    tap.equal(len(client.command("query-cpus-fast")), 2 if text else 1, "vCPUs")


@tap.test("options from a pipe")
def _():
    read_end, write_end = os.pipe()
    os.write(write_end, b"-smp 2\n")
    os.close(write_end)
    vm, client = start("soft", guests.spin(), "-S", "-options-file", f"/dev/fd/{read_end}",
                       pass_fds=[read_end])
    os.close(read_end)
    tap.equal(len(client.command("query-cpus-fast")), 2, "vCPUs")
    client.command("quit")
    vm.expect_exit(0)


BAD = [
    ("a bad value", "# x\n-smp 0\n", ":2: -smp 0: "),
    ("an unknown option", "-S\n\n-frobnicate\n", ":3: -frobnicate: unknown option, see -help"),
    ("no option", "smp 2\n", ":1: 'smp': not an option; they begin with '-', see -help"),
    ("an argument that is missing", "-S\n-m\n", ":2: -m: its argument is missing (-m takes "),
    ("an argument too many", "-S now\n", ":1: -S: takes no argument"),
    ("a second file", "-options-file x\n", ":1: -options-file x: a file of options cannot name another"),
    ("a control character", "-S\n-name \x1b[2J\n", ":2: has a control character"),
    ("a NUL byte", "-name a\0b\n", ":1: has a control character"),
    ("what only the whole tells", "-S\n-serial chardev:x\n", ":2: -serial chardev:x: there is no chardev 'x'"),
]


@tap.test("an error names file and line", each=[(case[0], case) for case in BAD])
def _(case):
    _, text, expected = case
    path = options_file(text)
    line = refusal("-options-file", path)
    tap.equal("\n" in line, False, f"more than a line: {line!r}")
    tap.equal(path + expected in line, True, f"{path}{expected} in {line!r}")


@tap.test("an error behind a file names no file")
def _():
    line = refusal("-options-file", options_file("-S\n"), "-smp", "0")
    tap.equal(line.startswith("halcyond: -smp 0: "), True, line)


@tap.test("a file that cannot be read says why",
          each=[("missing", ("/nonexistent/vm.conf", "No such file or directory")),
                ("a directory", ("/", "Is a directory")),
                ("without an end", ("/dev/zero", "is larger than 1048576 bytes"))])
def _(case):
    path, reason = case
    line = refusal("-options-file", path)
    tap.equal((path in line, reason in line), (True, True), line)


def offered_lines():
    """The example's options, those in comments included: "-S", "-m 512"."""
    return [line.removeprefix("#") for line in EXAMPLE.read_text().splitlines()
            if re.match(r"#?-", line)]


@tap.test("the example is taken as it is")
def _():
    text = EXAMPLE.read_text().replace("-m 512", "-m 16").replace("mshv:kvm:soft", "soft")
    vm, client = start_with(text)
    tap.equal(len(client.command("query-cpus-fast")), 2, "vCPUs")
    client.command("quit")
    vm.expect_exit(0)


@tap.test("each option that the example offers exists and takes what it shows")
def _():
    directory = temporary_directory()
    lines = offered_lines()
    tap.equal(len(lines) >= 10, True, f"only {len(lines)} options were found in the example")
    for line in lines:
        # A line is refused before the one behind it is looked at.
        path = options_file(f"{line}\n-is-the-next\n", "vm.conf", directory)
        tap.equal(refusal("-options-file", path),
                  f"halcyond: {path}:2: -is-the-next: unknown option, see -help", line)


if __name__ == "__main__":
    tap.main()
