#!/usr/bin/env python3
"""Character back ends: the debug console and the serial ports on stdio, files, ptys and nowhere."""

import fcntl
import os
import re
import select
import signal
import socket
import struct
import subprocess
import termios
import time

import guests
import tap
from fixtures import (ACCELS, BINARY, connect, debugcon_options, halcyond_only,
                      listening_socket, options, read_file, start, temporary_directory, wait_text,
                      write_file)
from qmp_client import Daemon

DEVICES = ["-debugcon", "-serial"]
CASES = [(f"{device} {accel}", (device, accel)) for device in DEVICES for accel in ACCELS]


def device_options(device, target):
    return debugcon_options(target) if device == "-debugcon" else ["-serial", target]


def printing_guest(device, text):
    return guests.prints(text) if device == "-debugcon" else guests.prints_serial(text)


@tap.test("output to stdio", each=CASES)
def _(case):
    device, accel = case
    vm, client = start(accel, printing_guest(device, "by stdio"), *device_options(device, "stdio"))
    tap.wait_until(lambda: "by stdio" in vm.daemon.stdout(), "the text on stdout")
    client.command("quit")
    vm.expect_exit(0)


@tap.test("output to a file", each=CASES)
def _(case):
    device, accel = case
    path = os.path.join(temporary_directory(), "out")
    vm, client = start(accel, printing_guest(device, "by file"),
                       *device_options(device, f"file:{path}"))
    wait_text(path, "by file")
    client.command("quit")
    vm.expect_exit(0)
    tap.equal(read_file(path), b"by file", "the file")


@tap.test("output through a -chardev by its id", each=DEVICES)
def _(device):
    if device == "-debugcon":
        halcyond_only()
    path = os.path.join(temporary_directory(), "out")
    _, _ = start("soft", printing_guest(device, "by id"), "-chardev", f"file,id=out,path={path}",
                 *device_options(device, "chardev:out"))
    wait_text(path, "by id")


@tap.test("a client that waits when the daemon starts gets the guest's first output", each=ACCELS)
def _(accel):
    # QEMU starts the guest first, and what it prints before the client is accepted is lost.
    halcyond_only()
    path = os.path.join(temporary_directory(), "console")
    with listening_socket(path) as listener, \
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as console:
        console.connect(path)
        console.settimeout(10)
        _, _ = start(accel, guests.prints("first"), "-chardev",
                     f"socket,id=out,fd={listener.fileno()},server=on,wait=off",
                     *debugcon_options("chardev:out"), pass_fds=[listener.fileno()])
        text = b""
        while len(text) < 5:
            text += console.recv(100)
        tap.equal(text[:5], b"first", "the console's output")


@tap.test("a pty: its name is told, and what the guest prints can be read there", each=DEVICES)
def _(device):
    vm, client = start("soft", printing_guest(device, "by pty"), "-S",
                       *device_options(device, "pty"))
    found = tap.wait_until(
        lambda: re.search(r"/dev/pts/\d+", vm.daemon.stdout() + vm.daemon.stderr()), "a pty's name")
    terminal = os.open(found.group(), os.O_RDWR | os.O_NOCTTY)
    tap.cleanup(lambda: os.close(terminal))
    client.command("cont")
    text = b""
    deadline = time.monotonic() + 5
    while b"by pty" not in text and time.monotonic() < deadline:
        if select.select([terminal], [], [], 1)[0]:
            text += os.read(terminal, 4096)
    tap.equal(b"by pty" in text, True, f"text in {text!r}")


@tap.test("a pty that nobody reads does not hold up the guest or the end", each=ACCELS)
def _(accel):
    vm, client = start(accel, guests.console_flood(), *debugcon_options("pty"))
    time.sleep(0.3)
    client.command("stop", timeout=5)
    client.command("cont", timeout=5)
    client.command("quit", timeout=5)
    vm.expect_exit(0)


@tap.test("stdout that nobody reads does not hold up the end", each=ACCELS)
def _(accel):
    halcyond_only()
    directory = temporary_directory()
    path = os.path.join(directory, "qmp.sock")
    bios = write_file("bios.bin", guests.console_flood())
    reading, writing = os.pipe()
    tap.cleanup(lambda: os.close(reading))
    with subprocess.Popen([BINARY, *options(accel, "-bios", bios), *debugcon_options("stdio"),
                           "-qmp", f"unix:{path},server=on,wait=off"], stdin=subprocess.DEVNULL,
                          stdout=writing) as process:
        os.close(writing)
        tap.cleanup(process.kill)
        client = connect(path, process=process)
        time.sleep(0.3)
        client.command("stop", timeout=5)
        client.command("quit", timeout=5)
        tap.equal(process.wait(5), 0, "exit status")


@tap.test("stdout that is closed by its reader does not end the VM", each=ACCELS)
def _(accel):
    directory = temporary_directory()
    path = os.path.join(directory, "qmp.sock")
    bios = write_file("bios.bin", guests.console_flood())
    reading, writing = os.pipe()
    with subprocess.Popen([BINARY, *options(accel, "-bios", bios), *debugcon_options("stdio"),
                           "-qmp", f"unix:{path},server=on,wait=off"], stdin=subprocess.DEVNULL,
                          stdout=writing) as process:
        os.close(writing)
        tap.cleanup(process.kill)
        client = connect(path, process=process)
        os.read(reading, 100)
        os.close(reading)
        time.sleep(0.05)
        tap.equal(client.command("query-status", timeout=5)["status"], "running", "status")
        client.command("quit", timeout=5)
        tap.equal(process.wait(5), 0, "exit status")


@tap.test("serial input from stdin reaches the guest", each=ACCELS)
def _(accel):
    directory = temporary_directory()
    path = os.path.join(directory, "qmp.sock")
    bios = write_file("bios.bin", guests.echo_serial())
    with subprocess.Popen([BINARY, *options(accel, "-bios", bios), "-serial", "stdio", "-qmp",
                           f"unix:{path},server=on,wait=off"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as process:
        tap.cleanup(process.kill)
        client = connect(path, process=process)
        echoed = b""
        for byte in b"a line of text":
            process.stdin.write(bytes([byte]))
            process.stdin.flush()
            echoed += process.stdout.read(1)
        tap.equal(echoed, b"a line of text", "what came back")
        process.stdin.close()
        time.sleep(0.1)
        tap.equal(client.command("query-status")["status"], "running", "status after EOF on stdin")
        client.command("quit")
        tap.equal(process.wait(5), 0, "exit status")


@tap.test("a burst of serial input arrives whole and in order", each=ACCELS)
def _(accel):
    directory = temporary_directory()
    path = os.path.join(directory, "qmp.sock")
    bios = write_file("bios.bin", guests.echo_serial())
    text = bytes(33 + number % 90 for number in range(3000))
    with subprocess.Popen([BINARY, *options(accel, "-bios", bios), "-serial", "stdio", "-qmp",
                           f"unix:{path},server=on,wait=off"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as process:
        tap.cleanup(process.kill)
        client = connect(path, process=process)
        process.stdin.write(text)
        process.stdin.flush()
        tap.equal(process.stdout.read(len(text)), text, "what came back")
        client.command("quit")
        tap.equal(process.wait(5), 0, "exit status")


@tap.test("debug console and two serial ports at once", each=["soft"])
def _(accel):
    directory = temporary_directory()
    paths = [os.path.join(directory, name) for name in ("debug", "com1", "com2")]
    start(accel, guests.prints_everywhere(), *debugcon_options(f"file:{paths[0]}"), "-serial",
          f"file:{paths[1]}", "-serial", f"file:{paths[2]}")
    for path, text in zip(paths, ("D", "1", "2")):
        wait_text(path, text)
        tap.equal(read_file(path), text.encode(), path)


@tap.test("without -debugcon the port answers to nobody, and the guest goes on", each=ACCELS)
def _(accel):
    _, client = start(accel, guests.prints("nothing"))
    tap.equal(client.command("query-status")["status"], "running", "status")


@tap.test("-nographic puts the first serial port on stdio")
def _():
    halcyond_only()
    bios = write_file("bios.bin", guests.prints_serial("no graphics"))
    daemon = Daemon(BINARY, "-accel", "soft", "-m", "16", "-bios", bios, "-nographic")
    tap.cleanup(daemon.kill)
    tap.wait_until(lambda: "no graphics" in daemon.stdout(), "the text on stdout")
    client = daemon.connect()
    tap.cleanup(client.close)
    client.command("quit")
    tap.equal(daemon.wait(5), 0, "exit status")


def _become_terminal_owner():
    """In the child, a session of its own: stdin becomes its controlling terminal."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@tap.test("the terminal is raw while it runs, and its settings come back",
          each=["quit", "SIGTERM", "SIGINT"])
def _(how):
    ours, theirs = os.openpty()
    tap.cleanup(lambda: os.close(ours))
    before = termios.tcgetattr(ours)
    path = os.path.join(temporary_directory(), "qmp.sock")
    bios = write_file("bios.bin", guests.halt_loop())
    # The shell stays, because the end of the terminal's session would hang it up.
    shell = subprocess.Popen(
        ["sh", "-c", '"$0" "$@"; echo "status $?"; read line', BINARY,
         *options("soft", "-bios", bios), "-serial", "stdio", "-qmp",
         f"unix:{path},server=on,wait=off"],
        stdin=theirs, stdout=theirs, start_new_session=True, preexec_fn=_become_terminal_owner)
    tap.cleanup(shell.wait)
    tap.cleanup(shell.kill)
    os.close(theirs)
    client = connect(path, process=shell)
    during = termios.tcgetattr(ours)
    tap.equal(during[3] & (termios.ICANON | termios.ECHO), 0, "raw while it runs")
    pid = peer_pid(client)
    if how == "quit":
        client.command("quit")
    else:
        os.kill(pid, getattr(signal, how))
    text = b""
    while b"status" not in text:
        text += os.read(ours, 4096)
    tap.equal(b"status 0" in text, True, f"exit status in {text}")
    tap.equal(termios.tcgetattr(ours), before, "settings")


def peer_pid(client):
    """The process at the other end of a monitor's socket."""
    credentials = client.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return struct.unpack("3i", credentials)[0]


if __name__ == "__main__":
    tap.main()
