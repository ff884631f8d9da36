#!/usr/bin/env python3
"""What a hostile or broken client, or a host that runs out of something, does to a monitor: nothing to the
daemon's memory and descriptors, and nothing to other monitors."""

import array
import itertools
import os
import pathlib
import re
import resource
import signal
import socket
import threading

import guests
import tap
from fixtures import (IS_QEMU, Vm, cpu_nanoseconds, halcyond_only, listening_socket, open_files,
                      temporary_directory)
from qmp_client import QmpClient

MIB = 1 << 20
PROBE = b'\xff\n{"execute": "query-name", "id": "probe"}'


def quiet_vm(*extra, **keywords):
    return Vm("soft", guests.spin(), "-S", *extra, **keywords)


def memory(pid, key="RssAnon"):
    """A figure of /proc/PID/status in bytes: RssAnon, or VmHWM for the most that was ever resident."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no {key}")


def forget_peak(pid):
    """VmHWM begins anew (proc(5))."""
    pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")


def expect_memory(pid, actual, limit, what):
    """Compares where it means something: sanitizers keep freed memory."""
    tap.diagnose(f"{what}: {actual // 1024} KiB")
    maps = pathlib.Path(f"/proc/{pid}/maps").read_text()
    if "libasan" not in maps and "libtsan" not in maps:
        tap.equal(actual <= limit, True, f"{what} of {actual} bytes is at most {limit}")


def serve_on(client):
    """The next request is answered; what the one before made of it is passed over."""
    client.send_raw(PROBE)
    while client.receive_reply(60).get("id") != "probe":
        pass


class Reader(threading.Thread):
    """Reads until the reply with id "probe" has come; keeps the first bytes and how many lines there were."""

    def __init__(self, client):
        super().__init__(daemon=True)
        self.client = client
        self.first = b""
        self.lines = 0
        self.complete = False
        self.start()

    def run(self):
        tail = b""
        while not self.complete:
            data = self.client.socket.recv(MIB)
            if not data:
                return
            if len(self.first) < 1000:
                self.first += data
            self.lines += data.count(b"\n")
            tail = (tail + data)[-100:]
            self.complete = b'"id": "probe"}\r\n' in tail

    def wait(self, timeout):
        self.join(timeout)
        tap.equal(self.complete, True, f"the last request is answered; {self.lines} replies before it")


def send_in_background(client, data):
    """Sends while the reader receives: who only sends is stopped when the replies fill the buffers."""
    client.socket.settimeout(None)
    sender = threading.Thread(target=client.socket.sendall, args=[data], daemon=True)
    sender.start()
    return sender


# -- clients that come and go -----------------------------------------------------------------------

def go_at_once(client):
    client.close()


def go_greeted(client):
    client.expect_greeting()
    client.close()


def go_negotiated(client):
    client.negotiate()
    client.close()


def go_with_replies_unread(client):
    client.send_raw(b'{"execute": "qmp_capabilities"}{"execute": "query-commands"}{"execute": "qu')
    client.close()


def go_half_closed(client):
    client.send_raw(b'{"execute": "qmp_capabilities"}')
    client.socket.shutdown(socket.SHUT_WR)
    client.receive_until_closed(30)
    client.close()


WAYS_TO_GO = [go_at_once, go_greeted, go_negotiated, go_with_replies_unread, go_half_closed]


@tap.test("ten thousand clients in a row leave no memory and no descriptor behind", timeout=150)
def _():
    halcyond_only()
    vm = quiet_vm()

    def clients(count):
        for number in range(count):
            WAYS_TO_GO[number % len(WAYS_TO_GO)](QmpClient.connect(vm.daemon.paths[0], 30))
        vm.connect().close()  # the last of them has gone when this one is served

    clients(500)
    before, files = memory(vm.pid), len(open_files(vm.pid))
    clients(10_000)
    expect_memory(vm.pid, memory(vm.pid) - before, 256 * 1024, "growth")
    tap.equal(len(open_files(vm.pid)) <= files, True, "open descriptors")
    vm.connect().command("quit")
    vm.expect_exit(0, 30)


@tap.test("descriptors that nobody takes go with the next ones and with their client", timeout=60)
def _():
    vm = quiet_vm()
    client = vm.connect()
    files = len(open_files(vm.pid))
    rights = array.array("i", [0] * 50)  # more than a message may have for halcyond
    for _ in range(200):
        client.socket.sendmsg([b'{"execute": "query-name"}'],
                              [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        client.receive_reply()
    tap.equal(len(open_files(vm.pid)) <= files + len(rights), True, "open descriptors")
    client.close()
    vm.connect()
    tap.wait_until(lambda: len(open_files(vm.pid)) <= files, "as few descriptors as before")


# -- long lines, many commands, single bytes --------------------------------------------------------

def line_of(size, begin, filling, end):
    count = (size - len(begin) - len(end)) // len(filling)
    return begin + filling * count + end


QUERY = b'{"execute": "query-name", "id": '
LONG_LINES = [
    ("one string", line_of(64 * MIB, QUERY + b'"', b"x", b'"}'), "return"),
    ("one string too long", line_of(65 * MIB, QUERY + b'"', b"x", b'"}'), "JSON token size limit exceeded"),
    ("many strings", line_of(64 * MIB, QUERY + b"[0", b', "' + b"x" * 76 + b'"', b"]}"), "return"),
    ("many numbers", line_of(64 * MIB, QUERY + b"[0", b", 0." + b"1" * 76, b"]}"), "return"),
    ("brackets, 16 MiB", b"[" * (16 * MIB), "JSON nesting depth limit exceeded"),
    ("white space", line_of(64 * MIB, QUERY + b"7", b" ", b"}"), "return"),
]


@tap.test("a line of 64 MiB is answered and its memory given back, and others are served meanwhile",
          each=[(row[0], row) for row in LONG_LINES], timeout=150)
def _(row):
    _, line, expected = row
    halcyond_only()
    vm = quiet_vm(monitors=2)
    client, other = vm.connect(0), vm.connect(1)
    serve_on(client)
    before = memory(vm.pid)
    sender = send_in_background(client, line + PROBE)
    reader = Reader(client)
    while sender.is_alive():
        other.command("query-status", timeout=20)
    reader.wait(100)
    tap.equal(expected.encode() in reader.first[:1000], True, f"{expected} in {reader.first[:200]}")
    other.command("query-status")  # behind all that the daemon does for the line
    expect_memory(vm.pid, memory(vm.pid) - before, 2 * MIB, "growth")


@tap.test("a hundred thousand pipelined commands are all answered, in order", timeout=100)
def _():
    vm = quiet_vm()
    client = vm.connect()
    count = 100_000
    sender = send_in_background(
        client, b"".join(b'{"execute":"query-name","id":%d}' % number for number in range(count)))
    received = client.socket.makefile("rb")
    for number in range(count):
        line = received.readline()
        if not line.endswith(b'"id": %d}\r\n' % number):
            raise AssertionError(f"reply {number}: {line}")
    sender.join()
    tap.equal(client.command("query-status")["status"], "prelaunch", "status")


@tap.test("a hundred thousand pipelined replies that are read as they come fill no memory", timeout=100)
def _():
    halcyond_only()
    vm = quiet_vm()
    client = vm.connect()
    serve_on(client)
    forget_peak(vm.pid)
    before = memory(vm.pid, "VmHWM")
    # Replies much longer than requests: some are waiting at any moment, and never none.
    sender = send_in_background(client, b'{"execute":"query-commands"}' * 20_000 + PROBE)
    Reader(client).wait(90)
    sender.join()
    expect_memory(vm.pid, memory(vm.pid, "VmHWM") - before, 2 * MIB, "peak")


@tap.test("eight clients whose requests come a byte at a time, in turns")
def _():
    vm = quiet_vm(monitors=8)
    clients = [vm.connect(number) for number in range(8)]
    requests = [b'{"execute": "query-name", "id": "%d\\u00e9"}' % number for number in range(8)]
    for place in range(len(requests[0])):
        for client, request in zip(clients, requests):
            client.send_raw(request[place:place + 1])
    tap.equal([client.receive()["id"] for client in clients],
              [f"{number}\u00e9" for number in range(8)], "ids")


# -- half a connection ------------------------------------------------------------------------------

@tap.test("a half-closed client gets every reply that it is owed, however slowly it reads", timeout=60)
def _():
    vm = quiet_vm()
    client = vm.connect()
    count = 300
    client.send_raw(b"".join(b'{"execute":"query-commands","id":%d}' % number for number in range(count)))
    client.socket.shutdown(socket.SHUT_WR)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    tap.equal([message["id"] for message in client.receive_until_closed(30)], list(range(count)), "ids")
    vm.connect()


@tap.test("a client that half-closes within a request sees the end of the stream")
def _():
    vm = quiet_vm()
    client = vm.connect()
    client.send_raw(b'{"execute": "query-na')
    client.socket.shutdown(socket.SHUT_WR)
    tap.equal(client.receive_until_closed(5), [], "messages")
    vm.connect()


@tap.test("a client that takes no more replies is dropped, and the next one served")
def _():
    vm = quiet_vm()
    client = vm.connect()
    client.socket.shutdown(socket.SHUT_RD)
    client.send_raw(b'{"execute": "query-name"}')  # the reply raises EPIPE
    vm.connect()


# -- what the host does -----------------------------------------------------------------------------

@tap.test("SIGPIPE from outside does no harm")
def _():
    vm = quiet_vm()
    client = vm.connect()
    for _ in range(3):
        os.kill(vm.pid, signal.SIGPIPE)
        tap.equal(client.command("query-status")["status"], "prelaunch", "status")


@tap.test("a monitor on stdio whose reader has gone does not end the daemon")
def _():
    halcyond_only()
    read_end, write_end = os.pipe()
    vm = quiet_vm("-qmp", "stdio", stdin=read_end, stdout=broken_pipe())
    os.close(read_end)
    client = vm.connect()
    os.write(write_end, b'{"execute": "qmp_capabilities"}{"execute": "cont"}')
    client.wait_event("RESUME")
    os.write(write_end, b'{"execute": "stop"}')
    client.wait_event("STOP")
    os.close(write_end)
    tap.equal(client.command("query-status")["status"], "paused", "status")
    client.command("quit")
    vm.expect_exit(0)


def broken_pipe():
    """A descriptor to write to, that nobody can read from."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    tap.cleanup(lambda: os.close(write_end))
    return write_end


@tap.test("without a free descriptor a client waits, others are served, and it is served in the end")
def _():
    vm = quiet_vm(monitors=2)
    other = vm.connect(1)
    limits = resource.prlimit(vm.pid, resource.RLIMIT_NOFILE)
    used = {int(name) for name in os.listdir(f"/proc/{vm.pid}/fd")}
    lowest_free = next(number for number in itertools.count() if number not in used)
    resource.prlimit(vm.pid, resource.RLIMIT_NOFILE, (lowest_free, limits[1]))
    late = vm.connect(0, negotiate=False)
    tap.equal(other.command("query-status")["status"], "prelaunch", "status")
    before = cpu_nanoseconds(vm.pid, vm.pid)
    try:
        late.receive(1.0)
        raise AssertionError("served without a descriptor")
    except TimeoutError:
        pass
    spent = cpu_nanoseconds(vm.pid, vm.pid) - before
    tap.diagnose(f"the main thread used {spent / 1e6:.1f} ms of a second")
    if not IS_QEMU:
        tap.equal(spent < 200_000_000, True, "no spinning")
    resource.prlimit(vm.pid, resource.RLIMIT_NOFILE, limits)
    late.negotiate(timeout=10)
    tap.equal(late.command("query-status")["status"], "prelaunch", "status")


# -- a client that does not read --------------------------------------------------------------------

def make_events(client, pairs):
    """Two events for each monitor, so often."""
    for _ in range(pairs):
        client.send_raw(b'{"execute":"cont"}{"execute":"stop"}')
        client.receive_reply(), client.receive_reply()
        client.events.clear()


@tap.test("chardev-add to a server that accepts nobody is refused, and holds nobody up")
def _():
    path = os.path.join(temporary_directory(), "full.sock")
    listener = listening_socket(path, 0)
    tap.equal(listener.fileno() >= 0, True, "the listener")
    full = False
    while not full:
        waiting = socket.socket(socket.AF_UNIX)
        tap.cleanup(waiting.close)
        waiting.setblocking(False)
        full = waiting.connect_ex(path) != 0
    client = quiet_vm().connect()
    answer = client.execute("chardev-add", {"id": "out", "backend": {
        "type": "socket", "data": {"server": False, "addr": {
            "type": "unix", "data": {"path": path}}}}}, timeout=5)
    tap.equal(answer["error"]["desc"], f"Failed to add chardev 'out': cannot connect to '{path}': "
              "Resource temporarily unavailable", "the error")


@tap.test("events that a client does not read are dropped and counted; the others get all", timeout=100)
def _():
    halcyond_only()
    vm = quiet_vm(monitors=2)
    deaf, other = vm.connect(0), vm.connect(1)
    before = memory(vm.pid)
    events = 0
    while "does not read" not in vm.daemon.stderr():
        make_events(other, 500)
        events += 1000
        tap.equal(events < 60_000, True, "events are dropped in the end")
    expect_memory(vm.pid, memory(vm.pid) - before, 3 * MIB, "growth")
    read_until_none_is_missing(vm, deaf, events)
    other.command("cont")
    tap.equal(deaf.receive(5)["event"], "RESUME", "the next event arrives again")


def read_until_none_is_missing(vm, client, events):
    """Reads until what came and what the log says was dropped are all events."""
    came = 0
    dropped = None
    while dropped is None or came + int(dropped[1]) < events:
        try:
            client.receive(0.2)
            came += 1
        except TimeoutError:
            dropped = re.search(r"(\d+) events were dropped", vm.daemon.stderr())
    tap.equal(came + int(dropped[1]), events, "events that came and were dropped")


@tap.test("a client that always reads a little late costs what it is late", timeout=150)
def _():
    halcyond_only()
    vm = quiet_vm(monitors=2)
    late, other = vm.connect(0), vm.connect(1)
    make_events(other, 3500)
    forget_peak(vm.pid)
    before = memory(vm.pid, "VmHWM")
    for _ in range(220):
        make_events(other, 100)
        for _ in range(200):
            late.receive()
    expect_memory(vm.pid, memory(vm.pid, "VmHWM") - before, 3 * MIB, "peak")
    tap.equal("dropped" in vm.daemon.stderr(), False, "events were dropped")


if __name__ == "__main__":
    tap.main()
