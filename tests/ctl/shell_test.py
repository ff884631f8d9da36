#!/usr/bin/env python3
"""halcyonctl's shell: on a terminal with history and completion, and on a pipe."""

import os
import pathlib
import pty
import select
import signal
import subprocess
import termios
import time

import ctl  # also says where the other modules are
import tap
from ctl import CTL, NO_CONNECTION, SERVER_ERROR, SUCCESS, USAGE, Machine

PROMPT = "web> "


class Terminal:
    """The shell on a terminal of ours."""

    def __init__(self, vm, state=None):
        self.state = state or ctl.temporary_directory()
        master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (50, 200))
        self.master = master
        self.text = ""
        self.process = subprocess.Popen(
            [CTL, "web", "shell"], stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            env={**ctl.clean_environment(), "HALCYON_RUNTIME_DIR": vm.directory, "TERM": "dumb",
                 "XDG_STATE_HOME": self.state, "INPUTRC": "/dev/null", "LC_ALL": "C.UTF-8"},
            preexec_fn=lambda: __import__("fcntl").ioctl(0, termios.TIOCSCTTY, 0))
        os.close(slave)
        tap.cleanup(self.close)

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.master)

    def expect(self, text, timeout=10.0):
        """Reads until the text has come; gives what came before it, and forgets both."""
        deadline = time.monotonic() + timeout
        while text not in self.text:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.master], [], [], left)[0]:
                raise AssertionError(f"{text!r} did not come, but {self.text!r}")
            try:
                self.text += os.read(self.master, 4096).decode()
            except OSError as end:  # the terminal is hung up
                raise AssertionError(f"{text!r} did not come, but {self.text!r}") from end
        before, self.text = self.text.split(text, 1)
        return before

    def type(self, text):
        os.write(self.master, text.encode())

    def line(self, text):
        """A line at the prompt, and what it prints."""
        self.type(text + "\n")
        self.expect(text + "\r\n")
        return self.expect(PROMPT).replace("\r\n", "\n")

    def ends(self, status=SUCCESS):
        # What it still writes must be read, or it could not end.
        deadline = time.monotonic() + 10
        while self.process.poll() is None and time.monotonic() < deadline:
            if select.select([self.master], [], [], 0.02)[0]:
                try:
                    self.text += os.read(self.master, 4096).decode()
                except OSError:
                    break
        tap.equal(self.process.wait(10), status, f"exit status; {self.text!r}")


def terminal(*options, **keywords):
    shell = Terminal(Machine(*options), **keywords)
    shell.expect(PROMPT)
    return shell


@tap.test("a command's answer is printed")
def _():
    shell = terminal("-S")
    tap.equal(shell.line("status"), "prelaunch\n")
    tap.equal(shell.line("query-name"), "name: web\n")


@tap.test("a fault is told, and the shell goes on")
def _():
    shell = terminal("-S")
    tap.equal("there is no command 'what'" in shell.line("what"), True)
    tap.equal("'none' not found" in shell.line("chardev-remove id=none"), True)
    tap.equal("quote" in shell.line("query-name 'x"), True)
    tap.equal(shell.line("status"), "prelaunch\n")


@tap.test("arguments are quoted as in sh")
def _():
    shell = terminal("-S", "-chardev", "ringbuf,id=log")
    shell.line("ringbuf-write device=log data='a  b'")
    tap.equal(shell.line("ringbuf-read device=log size=99"), "a  b\n")


@tap.test("a request in JSON")
def _():
    tap.equal(terminal("-S").line('{"execute": "query-name"}'), "name: web\n")


@tap.test("TAB completes a command")
def _():
    shell = terminal("-S")
    shell.type("query-stat\t")
    shell.expect("query-stat")
    shell.type("us\n")
    shell.expect("status: prelaunch")


@tap.test("TAB completes a command that is the only one, with a space")
def _():
    shell = terminal("-S")
    shell.type("ringbuf-r\tx")
    shell.expect("ringbuf-read x")


@tap.test("TAB completes an argument's name, without a space")
def _():
    shell = terminal("-S")
    shell.type("ringbuf-read d\tx")
    shell.expect("ringbuf-read device=x")


@tap.test("TAB completes a member of an object")
def _():
    shell = terminal("-S")
    shell.type("chardev-add b\tt\tring\tbackend.d\ts\t1")
    shell.expect("chardev-add backend.type=ringbuf backend.data.size=1")


@tap.test("TAB twice lists the values of an enumeration")
def _():
    shell = terminal("-S")
    shell.type("ringbuf-read format=\t\t")
    shell.expect("base64")
    shell.expect("utf8")


@tap.test("TAB twice lists commands")
def _():
    shell = terminal("-S")
    shell.type("query-cpu\t\t")
    shell.expect("query-cpu-definitions")
    shell.expect("query-cpus-fast")


@tap.test("the history is kept for the next shell")
def _():
    shell = terminal("-S")
    shell.line("query-name")
    shell.type("exit\n")
    shell.ends()
    path = pathlib.Path(shell.state, "halcyon", "history")
    tap.equal(path.read_text(), "query-name\nexit\n", "the file")
    tap.equal(path.stat().st_mode & 0o077, 0, "who else may read it")
    again = terminal("-S", state=shell.state)
    again.type("\x10\x10\n")  # ^P: the line before, twice
    again.expect("name: web")


@tap.test("^C drops the line")
def _():
    shell = terminal("-S")
    shell.type("quit")
    shell.expect("quit")
    shell.type("\x03")
    shell.expect(PROMPT)
    tap.equal(shell.line("status"), "prelaunch\n")


@tap.test("^D and exit leave, and the machine runs on", each=["\x04", "exit\n"])
def _(way):
    shell = terminal()
    shell.type(way)
    shell.ends()


@tap.test("quit ends the machine and the shell")
def _():
    vm = Machine()
    shell = Terminal(vm)
    shell.expect(PROMPT)
    shell.type("quit\n")
    shell.expect("SHUTDOWN guest=false reason=host-qmp-quit")
    shell.ends()
    tap.equal(vm.gone(), 0, "exit status of the machine")


@tap.test("events are printed while a line is being typed, and it is kept")
def _():
    second = os.path.join(ctl.temporary_directory(), "second.sock")
    vm = Machine("-qmp", f"unix:{second},server=on,wait=off")
    shell = Terminal(vm)
    shell.expect(PROMPT)
    shell.type("query-na")
    shell.expect("query-na")
    with ctl.QmpClient.connect_when_listening(second) as other:
        other.negotiate().command("stop")
    shell.expect("STOP\r\n")
    shell.type("me\n")
    shell.expect("name: web")


@tap.test("a machine that ends by itself ends the shell, with 3")
def _():
    vm = Machine()
    shell = Terminal(vm)
    shell.expect(PROMPT)
    vm.process.terminate()
    shell.expect("SHUTDOWN guest=false reason=host-signal")
    shell.expect("closed the connection")
    shell.ends(NO_CONNECTION)


@tap.test("SIGTERM ends the shell, and the terminal is as before")
def _():
    vm = Machine()
    shell = Terminal(vm)
    shell.expect(PROMPT)
    tap.equal(termios.tcgetattr(shell.master)[3] & termios.ECHO, 0, "echo at the prompt")
    shell.process.send_signal(signal.SIGTERM)
    shell.ends()
    tap.equal(termios.tcgetattr(shell.master)[3] & termios.ECHO, termios.ECHO, "echo afterwards")


@tap.test("help lists commands, and a command's arguments")
def _():
    shell = terminal("-S")
    tap.equal("  ringbuf-read\n" in shell.line("help"), True)
    tap.equal(shell.line("help ringbuf-read"),
              "ringbuf-read\n  device=  a string\n  size=  an integer\n"
              "  format=  (optional) one of utf8, base64\n")


@tap.test("help and TAB")
def _():
    shell = terminal("-S")
    shell.type("help ringbuf-r\t\n")
    shell.expect("size=  an integer")


@tap.test("lines of a pipe")
def _():
    vm = Machine()
    status, output, errors = vm.run("shell", stdin="# a comment\n\nstatus\nstop\nstatus\n")
    tap.equal((status, errors), (SUCCESS, ""))
    lines = output.splitlines()
    tap.equal((lines[0], lines[2], lines[1].split()[2]), ("running", "paused", "STOP"))


@tap.test("the last line of a pipe gives the exit status",
          each=[("success", ("what\nstatus\n", SUCCESS)), ("usage", ("status\nwhat\n", USAGE)),
                ("the server", ("chardev-remove id=x\n", SERVER_ERROR)),
                ("quit", ("quit\nstatus\n", SUCCESS))])
def _(row):
    tap.equal(Machine().run("shell", stdin=row[0])[0], row[1])


if __name__ == "__main__":
    tap.main()
