"""What the black-box tests share: a synchronous QMP client, a starter for the daemon, and TAP output.

Nothing here interprets a reply beyond sorting events from replies, so that a test sees what the daemon sent.
Every wait has a deadline; a test that would hang fails instead.
"""

import itertools
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

DEFAULT_TIMEOUT = 30.0


class QmpError(Exception):
    """An error reply. `error_class` and `desc` as on the wire, `reply` the whole of it."""

    def __init__(self, reply):
        self.reply = reply
        self.error_class = reply["error"]["class"]
        self.desc = reply["error"]["desc"]
        super().__init__(f"{self.error_class}: {self.desc}")


class QmpClosed(Exception):
    """The daemon closed the connection where a message was expected."""


class QmpClient:
    """One connection to a monitor. Events that come between are kept in `events`, oldest first."""

    def __init__(self, connected_socket, timeout=DEFAULT_TIMEOUT):
        self.socket = connected_socket
        self.timeout = timeout
        self.events = []
        self.greeting = None
        self._buffer = b""
        self._ids = itertools.count(1)

    @classmethod
    def connect(cls, path, timeout=DEFAULT_TIMEOUT):
        """Connects to a Unix socket; a path that begins with a NUL byte or '@' is an abstract one."""
        if path.startswith("@"):
            path = "\0" + path[1:]
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout)
        try:
            connection.connect(path)
        except OSError:
            connection.close()
            raise
        return cls(connection, timeout)

    @classmethod
    def connect_when_listening(cls, path, timeout=DEFAULT_TIMEOUT, process=None):
        """Connects as soon as somebody listens at `path`; gives up early when `process` has exited."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                return cls.connect(path, timeout)
            except (FileNotFoundError, ConnectionRefusedError):
                if process is not None and process.poll() is not None:
                    raise QmpClosed(f"the daemon exited with {process.returncode}") from None
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.001)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    # -- messages ---------------------------------------------------------------------------------

    def send_raw(self, data):
        """Bytes as they are, whatever they mean."""
        self.socket.settimeout(self.timeout)
        self.socket.sendall(data)

    def send(self, message):
        self.send_raw(json.dumps(message).encode() + b"\n")

    def receive_line(self, timeout=None):
        """The next line without its CR LF. Raises QmpClosed at the end of the stream, TimeoutError when none came."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no message from the daemon; partial: {self._buffer[:200]!r}")
            self.socket.settimeout(left)
            try:
                chunk = self.socket.recv(65536)
            except socket.timeout:
                continue
            except ConnectionResetError:
                chunk = b""
            if not chunk:
                raise QmpClosed(f"end of stream; partial message: {self._buffer[:200]!r}")
            self._buffer += chunk
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line.removesuffix(b"\r")

    def has_input(self):
        """Whether a message, or the end of the stream, can be received without waiting."""
        return b"\n" in self._buffer or bool(select.select([self.socket], [], [], 0)[0])

    def receive(self, timeout=None):
        """The next message of any kind, parsed."""
        return json.loads(self.receive_line(timeout))

    def receive_reply(self, timeout=None):
        """The next message that is not an event; events go to `events`."""
        while True:
            message = self.receive(timeout)
            if "event" not in message:
                return message
            self.events.append(message)

    def expect_greeting(self, timeout=None):
        self.greeting = self.receive(timeout)
        if "QMP" not in self.greeting:
            raise AssertionError(f"not a greeting: {self.greeting}")
        return self.greeting

    def negotiate(self, enable=None, timeout=None):
        """Reads the greeting unless that was done, and enters command mode."""
        if self.greeting is None:
            self.expect_greeting(timeout)
        arguments = {} if enable is None else {"enable": enable}
        self.command("qmp_capabilities", timeout=timeout, **arguments)
        return self

    # -- commands and events ------------------------------------------------------------------------

    def execute(self, command, arguments=None, timeout=None, key="execute"):
        """Sends a command with an id of its own and gives back the whole reply, `return` or `error`."""
        request = {key: command, "id": next(self._ids)}
        if arguments is not None:
            request["arguments"] = arguments
        self.send(request)
        reply = self.receive_reply(timeout)
        if reply.get("id") != request["id"]:
            raise AssertionError(f"reply to another request: sent {request}, got {reply}")
        return reply

    def command(self, command, timeout=None, **arguments):
        """The value a command returns; raises QmpError. An underscore in an argument's name becomes a hyphen."""
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        reply = self.execute(command, named or None, timeout)
        if "error" in reply:
            raise QmpError(reply)
        return reply["return"]

    def wait_event(self, name, timeout=None):
        """Takes the oldest event called `name`, waiting for it; others stay in `events`."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            for index, event in enumerate(self.events):
                if event["event"] == name:
                    return self.events.pop(index)
            message = self.receive(max(deadline - time.monotonic(), 0))
            if "event" not in message:
                raise AssertionError(f"waiting for {name}, got a reply: {message}")
            self.events.append(message)

    def take_event_names(self):
        """The names of the events received so far, which are then forgotten."""
        names = [event["event"] for event in self.events]
        self.events.clear()
        return names

    def receive_until_closed(self, timeout=None):
        """All remaining messages up to the end of the stream."""
        messages = []
        while True:
            try:
                messages.append(self.receive(timeout))
            except QmpClosed:
                return messages


class Daemon:
    """A running daemon with one QMP monitor (or more) on inherited listening sockets.

    Because the sockets listen before the process starts, connecting never races with start-up; and because they
    are closed here afterwards, a daemon that dies at start is seen as the end of the stream.
    """

    def __init__(self, binary, *arguments, monitors=1, environment=None, timeout=DEFAULT_TIMEOUT, stdin=None,
                 stdout=None, pass_fds=()):
        self.timeout = timeout
        self.directory = tempfile.mkdtemp(prefix="halcyon-test-")
        self.paths = [os.path.join(self.directory, f"qmp{number}.sock") for number in range(monitors)]
        listeners = []
        options = []
        for number, path in enumerate(self.paths):
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(path)
            listener.listen(16)
            listeners.append(listener)
            options += ["-chardev", f"socket,id=test-mon{number},fd={listener.fileno()},server=on,wait=off",
                        "-mon", f"chardev=test-mon{number},mode=control"]
        self.stderr_path = os.path.join(self.directory, "stderr")
        self.stdout_path = os.path.join(self.directory, "stdout")
        with open(self.stderr_path, "wb") as stderr, open(self.stdout_path, "wb") as stdout_file:
            self.process = subprocess.Popen(
                [binary, *arguments, *options],
                pass_fds=[*pass_fds, *(listener.fileno() for listener in listeners)],
                stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=stdout_file if stdout is None else stdout, stderr=stderr,
                env={**os.environ, **(environment or {})})
        for listener in listeners:
            listener.close()
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def connect(self, number=0, negotiate=True, enable=None):
        """A new client of monitor `number`."""
        client = QmpClient.connect(self.paths[number], self.timeout)
        return client.negotiate(enable) if negotiate else client

    def wait(self, timeout=None):
        """The exit status; negative for a signal."""
        return self.process.wait(self.timeout if timeout is None else timeout)

    def threads(self):
        """The names of the process's threads by thread id; empty once it is gone."""
        names = {}
        try:
            for thread in os.listdir(f"/proc/{self.pid}/task"):
                try:
                    with open(f"/proc/{self.pid}/task/{thread}/comm", encoding="utf-8") as comm:
                        names[int(thread)] = comm.read().strip()
                except (FileNotFoundError, ProcessLookupError):
                    pass
        except (FileNotFoundError, ProcessLookupError):
            pass
        return names

    def stderr(self):
        with open(self.stderr_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def stdout(self):
        with open(self.stdout_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def kill(self):
        """Ends the process by force if it still runs, and removes the files."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


def run_tests(tests):
    """Runs the functions in order, prints TAP, and exits: 1 when one failed. Raise SkipTest to skip."""
    print(f"1..{len(tests)}")
    failed = 0
    for number, test in enumerate(tests, 1):
        name = test.__name__.removeprefix("test_")
        try:
            test()
            print(f"ok {number} - {name}", flush=True)
        except SkipTest as reason:
            print(f"ok {number} - {name} # SKIP {reason}", flush=True)
        except Exception:  # every failure of a test is a result, not an end
            failed += 1
            for line in traceback.format_exc().splitlines():
                print(f"# {line}")
            print(f"not ok {number} - {name}", flush=True)
    sys.exit(1 if failed else 0)


class SkipTest(Exception):
    """Raised by a test that cannot run here, with the reason."""


def collect_tests(namespace):
    """The functions called test_* of a module (pass globals()), in the order of their definition."""
    return [value for name, value in namespace.items() if name.startswith("test_") and callable(value)]


def expect_equal(actual, expected, what="value"):
    if actual != expected:
        raise AssertionError(f"{what}: expected {expected!r}, got {actual!r}")


def expect_true(condition, what):
    if not condition:
        raise AssertionError(what)
