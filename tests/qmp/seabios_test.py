#!/usr/bin/env python3
"""Real firmware: Debian's SeaBIOS boots to its end on every accelerator, with any number of vCPUs."""

import os
import re
import shutil
import subprocess

import tap
from fixtures import (ACCELS, BINARY, KVM, SEABIOS, connect, debugcon_file,
                      debugcon_options, halcyond_only, read_file, start, temporary_directory,
                      wait_text)

CASES = [(f"{accel}, {count} vCPUs", (accel, count)) for accel in ACCELS for count in (1, 4)]
NOBODY = 65534


def need_seabios():
    if not os.path.exists(SEABIOS):
        tap.skip(f"{SEABIOS} is not installed")


@tap.test("prints its banner on the debug console", each=CASES, timeout=60)
def _(case):
    need_seabios()
    accel, count = case
    extra, path = debugcon_file()
    _, client = start(accel, SEABIOS, "-smp", str(count), *extra)
    wait_text(path, "SeaBIOS (version", 30)
    client.command("quit")


@tap.test("finds all processors and goes on to boot", each=CASES, timeout=90)
def _(case):
    need_seabios()
    accel, count = case
    extra, path = debugcon_file()
    vm, client = start(accel, SEABIOS, "-smp", str(count), "-m", "64", *extra)
    wait_text(path, "No bootable device", 60)
    found = re.search(rb"Found (\d+) cpu\(s\) max supported (\d+) cpu", read_file(path))
    tap.equal((int(found[1]), int(found[2])), (count, count), "processors found, supported")
    tap.equal(b"0000000004000000" in read_file(path), True, "its memory map ends at 64 MiB")
    tap.equal(client.command("query-status")["status"], "running", "status")
    client.command("quit")
    vm.expect_exit(0)


@tap.test("boots again after system_reset", each=ACCELS, timeout=60)
def _(accel):
    need_seabios()
    extra, path = debugcon_file()
    _, client = start(accel, SEABIOS, "-smp", "2", *extra)
    for boots in (1, 2, 3):
        tap.wait_until(lambda n=boots: read_file(path).count(b"No bootable device") == n,
                       f"end of boot {boots}", 20)
        client.command("system_reset")


@tap.test("is quit at any moment of its start", each=ACCELS, timeout=60)
def _(accel):
    need_seabios()
    for step in range(12):
        extra, path = debugcon_file()
        vm, client = start(accel, SEABIOS, "-smp", "4", *extra)
        tap.wait_until(lambda n=step: len(read_file(path)) >= n * 150, "some output", 20)
        tap.equal(client.command("quit"), {}, "reply")
        vm.expect_exit(0)


@tap.test("with no device node and no rights the software accelerator runs it", timeout=60)
def _():
    need_seabios()
    halcyond_only()
    if os.geteuid() != 0:
        tap.skip("needs root, to become nobody")
    directory = temporary_directory()
    os.chown(directory, NOBODY, NOBODY)
    # A build tree need not be readable to nobody.
    binary = os.path.join(directory, "halcyond")
    shutil.copy(BINARY, binary)
    os.chmod(binary, 0o755)
    path = os.path.join(directory, "qmp.sock")
    console = os.path.join(directory, "debugcon")
    with subprocess.Popen([binary, "-accel", "mshv:kvm:soft", "-m", "16", "-bios", SEABIOS,
                           *debugcon_options(f"file:{console}"), "-qmp",
                           f"unix:{path},server=on,wait=off"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, user=NOBODY,
                          group=NOBODY, extra_groups=[], cwd="/") as process:
        tap.cleanup(process.kill)
        client = connect(path, process=process)
        wait_text(console, "SeaBIOS (version", 30)
        if not (KVM and os.stat("/dev/kvm").st_mode & 0o006):
            tap.equal(client.command("query-kvm")["enabled"], False, "KVM is used")
        client.command("quit")
        tap.equal(process.wait(5), 0, "exit status")


if __name__ == "__main__":
    tap.main()
