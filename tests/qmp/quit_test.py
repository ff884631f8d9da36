#!/usr/bin/env python3
"""quit: its reply is a proof that the VM is at rest, and the process is gone right after."""

import array
import fcntl
import os
import select
import signal
import socket
import termios
import threading
import time

import guests
import tap
from fixtures import (ACCELS, IS_QEMU, Vm, connect, halcyond_only, open_files, start,
                      temporary_directory, vcpu_threads, wait_text, debugcon_file)
from qmp_client import Daemon, QmpClient
import fixtures

GUESTS = ["spin", "halt_loop", "pio_hammer", "pio_read_hammer", "mmio_hammer", "string_pio_hammer"]
GUEST_PAIRS = [(f"{accel}, {name}", (accel, name)) for accel in ACCELS for name in GUESTS]
STATES = ["running", "prelaunch", "paused", "preconfig"]
STATE_PAIRS = [(f"{accel}, {state}", (accel, state)) for accel in ACCELS for state in STATES]
SIGNALS = [(f"{accel}, {number.name}, {state}", (accel, number, state)) for accel in ACCELS
           for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP) for state in STATES]


def start_in(accel, state, *extra, image=None, **keywords):
    """A VM in a run state, and its client with no event pending."""
    extra = [*extra, *{"prelaunch": ["-S"], "preconfig": ["--preconfig"]}.get(state, [])]
    vm, client = start(accel, image or guests.pio_hammer(), *extra, **keywords)
    if state == "paused":
        client.command("stop")
    # QAPI's RunState has no name of its own for preconfig.
    status = "prelaunch" if state == "preconfig" else state
    tap.equal(client.command("query-status")["status"], status, "run state")
    client.take_event_names()
    return vm, client


def expect_end(client, reason, reply=True):
    """SHUTDOWN, then the reply to quit where one is due, then the end of the stream: nothing else."""
    messages = client.receive_until_closed(10)
    shutdown = messages.pop(0)
    tap.equal(shutdown["event"], "SHUTDOWN", "first message")
    tap.equal(shutdown["data"], {"guest": False, "reason": reason}, "data of SHUTDOWN")
    tap.equal([{"return": {}}] if reply else [], messages, "messages after SHUTDOWN")


@tap.test("SHUTDOWN, then the reply, then the end of the stream; exit status 0", each=STATE_PAIRS)
def _(case):
    vm, client = start_in(*case)
    client.send({"execute": "quit"})
    expect_end(client, "host-qmp-quit")
    vm.expect_exit(0)


@tap.test("quit ends any guest", each=GUEST_PAIRS)
def _(case):
    accel, name = case
    vm, client = start(accel, getattr(guests, name)())
    time.sleep(0.01)
    client.send({"execute": "quit"})
    expect_end(client, "host-qmp-quit")
    vm.expect_exit(0, timeout=1.0)


@tap.test("quit ends eight vCPUs that all hammer a port", each=ACCELS)
def _(accel):
    vm, client = start(accel, guests.on_all_vcpus("pio"), "-smp", "8")
    time.sleep(0.02)
    client.send({"execute": "quit"})
    expect_end(client, "host-qmp-quit")
    vm.expect_exit(0, timeout=1.0)


@tap.test("no vCPU thread is left when the reply comes", each=ACCELS)
def _(accel):
    for _ in range(5):
        vm, client = start(accel, guests.on_all_vcpus("mix"), "-smp", "4")
        tap.equal(len(vcpu_threads(vm.pid)) > 0, True, "vCPU threads before")
        client.command("quit")
        left = vcpu_threads(vm.pid)
        if not IS_QEMU:
            tap.equal(left, [], "vCPU threads after the reply")
        vm.expect_exit(0)


@tap.test("the partition's descriptors are closed when the reply comes", each=["kvm"])
def _(accel):
    halcyond_only()
    vm, client = start(accel, guests.pio_hammer(), "-smp", "2")
    before = [target for target in open_files(vm.pid) if "kvm" in target]
    tap.equal(any("kvm-vm" in target for target in before), True, f"kvm-vm is in {before}")
    client.command("quit")
    tap.equal([target for target in open_files(vm.pid) if "kvm" in target], [], "kvm descriptors")
    vm.expect_exit(0)


@tap.test("the process is gone within 100 ms of the reply", each=ACCELS)
def _(accel):
    times = []
    for _ in range(5):
        vm, client = start(accel, guests.pio_hammer())
        client.command("quit")
        started = time.monotonic()
        vm.expect_exit(0)
        times.append(time.monotonic() - started)
    tap.diagnose("reply to gone, ms: " + ", ".join(f"{t * 1000:.1f}" for t in sorted(times)))
    tap.equal(sorted(times)[len(times) // 2] < 0.1, True, "the median is below 100 ms")


PIPELINED = ["system_reset", "stop", "cont", "query-status", "system_powerdown"]


@tap.test("quit right behind another command, in one write",
          each=[(f"{accel}, {command}", (accel, command)) for accel in ACCELS
                for command in PIPELINED])
def _(case):
    accel, command = case
    vm, client = start(accel, guests.on_all_vcpus("pio"), "-smp", "2")
    client.send_raw(b'{"execute": "%s", "id": 1} {"execute": "quit", "id": 2}' % command.encode())
    messages = client.receive_until_closed(10)
    replies = [message for message in messages if "event" not in message]
    tap.equal([reply["id"] for reply in replies], [1, 2], "replies in order")
    tap.equal(replies[1], {"return": {}, "id": 2}, "reply to quit")
    shutdowns = [message for message in messages if message.get("event") == "SHUTDOWN"]
    tap.equal(len(shutdowns), 1, "SHUTDOWN events")
    vm.expect_exit(0)


@tap.test("many resets and a quit in one write", each=ACCELS)
def _(accel):
    vm, client = start(accel, guests.on_all_vcpus("pio"), "-smp", "4")
    client.send_raw(b'{"execute": "system_reset"}' * 20 + b'{"execute": "quit", "id": 9}')
    messages = client.receive_until_closed(10)
    tap.equal(messages[-1], {"return": {}, "id": 9}, "last message")
    vm.expect_exit(0)


@tap.test("quit twice in one write: answered, and the process ends once", each=ACCELS)
def _(accel):
    vm, client = start(accel, guests.pio_hammer())
    client.send_raw(b'{"execute": "quit", "id": 1}\n{"execute": "quit", "id": 2}\n')
    messages = client.receive_until_closed(10)
    replies = [message for message in messages if "event" not in message]
    tap.equal(replies[0], {"return": {}, "id": 1}, "first reply")
    tap.equal([m["event"] for m in messages if "event" in m], ["SHUTDOWN"], "events")
    vm.expect_exit(0)


@tap.test("quit from two monitors at once", each=ACCELS)
def _(accel):
    for _ in range(5):
        vm = Vm(accel, guests.on_all_vcpus("pio"), "-smp", "4", monitors=2)
        clients = [vm.connect(0), vm.connect(1)]
        # Stopped, so that it does not answer one and go before it has the other.
        os.kill(vm.pid, signal.SIGSTOP)
        for client in clients:
            client.send({"execute": "quit"})
        os.kill(vm.pid, signal.SIGCONT)
        seen = [client.receive_until_closed(10) for client in clients]
        answered = 0
        for messages in seen:
            tap.equal(messages[0].get("event"), "SHUTDOWN", f"first of {messages}")
            answered += messages.count({"return": {}})
        tap.equal(answered >= 1, True, "at least one reply")
        vm.expect_exit(0)


@tap.test("ten monitors: all learn of it, the one that asked gets the reply", each=ACCELS)
def _(accel):
    vm = Vm(accel, guests.pio_hammer(), "-smp", "2", monitors=10)
    clients = [vm.connect(number) for number in range(10)]
    clients[3].send({"execute": "quit"})
    for number, client in enumerate(clients):
        expect_end(client, "host-qmp-quit", reply=number == 3)
    vm.expect_exit(0)


@tap.test("a monitor that has not negotiated sees the end of the stream only", each=["soft"])
def _(accel):
    vm = Vm(accel, guests.spin(), monitors=2)
    silent = vm.connect(1, negotiate=False)
    silent.expect_greeting()
    vm.connect(0).command("quit")
    tap.equal(silent.receive_until_closed(10), [], "messages")
    vm.expect_exit(0)


@tap.test("a client that never reads its reply does not hold up the end", each=ACCELS)
def _(accel):
    vm, client = start(accel, guests.pio_hammer())
    client.send({"execute": "quit"})
    vm.expect_exit(0)


@tap.test("quit from a client that hangs up at once", each=ACCELS)
def _(accel):
    halcyond_only()
    vm, client = start(accel, guests.pio_hammer())
    client.send({"execute": "quit"})
    client.close()
    vm.expect_exit(0)


@tap.test("quit from a client that half-closes is answered", each=ACCELS)
def _(accel):
    vm, client = start(accel, guests.pio_hammer())
    client.send({"execute": "quit"})
    client.socket.shutdown(socket.SHUT_WR)
    if not IS_QEMU:
        expect_end(client, "host-qmp-quit")
    vm.expect_exit(0)


def flood(client):
    """Sends commands without reading a reply until the daemon takes no more (or 20 MB went)."""
    client.socket.setblocking(False)
    request = b'{"execute": "query-commands"}' * 1000
    deadline = time.monotonic() + 3
    sent = 0
    idle = 0
    while time.monotonic() < deadline and sent < 2_000_000 and idle < 100:
        try:
            sent += client.socket.send(request)
            idle = 0
        except BlockingIOError:
            idle += 1
            time.sleep(0.002)
    return sent


@tap.test("a client with its buffers full does not hold up another's quit", each=["soft"])
def _(accel):
    halcyond_only()
    vm = Vm(accel, guests.pio_hammer(), monitors=2)
    stuck = vm.connect(0)
    other = vm.connect(1)
    tap.diagnose(f"{flood(stuck)} bytes of requests taken")
    tap.equal(other.command("quit", timeout=5), {}, "reply of quit")
    vm.expect_exit(0, timeout=3.0)


@tap.test("SIGTERM, SIGINT and SIGHUP take the same road", each=SIGNALS)
def _(case):
    accel, number, state = case
    vm, client = start_in(accel, state)
    os.kill(vm.pid, number)
    expect_end(client, "host-signal", reply=False)
    vm.expect_exit(0)


@tap.test("a second signal while the first is handled changes nothing", each=ACCELS)
def _(accel):
    vm, client = start(accel, guests.on_all_vcpus("pio"), "-smp", "4")
    for _ in range(3):
        os.kill(vm.pid, signal.SIGTERM)
    expect_end(client, "host-signal", reply=False)
    vm.expect_exit(0)


@tap.test("a signal and a quit at once: one SHUTDOWN, exit status 0", each=ACCELS)
def _(accel):
    for _ in range(5):
        vm, client = start(accel, guests.on_all_vcpus("pio"), "-smp", "2")
        client.send({"execute": "quit"})
        os.kill(vm.pid, signal.SIGTERM)
        messages = client.receive_until_closed(10)
        tap.equal([m["event"] for m in messages if "event" in m], ["SHUTDOWN"], "events")
        vm.expect_exit(0)


@tap.test("SIGTERM with no client connected", each=ACCELS)
def _(accel):
    vm = Vm(accel, guests.pio_hammer())
    vm.connect().close()  # so that it is known to have started
    os.kill(vm.pid, signal.SIGTERM)
    vm.expect_exit(0)


@tap.test("SIGTERM at any moment of start-up ends the process", each=ACCELS)
def _(accel):
    halcyond_only()
    for step in range(15):
        vm = Vm(accel, guests.pio_hammer())
        time.sleep(step * 0.001)
        os.kill(vm.pid, signal.SIGTERM)
        status = vm.gone(3.0)
        # Before the handlers are there the signal's own action ends it.
        tap.equal(status in (0, -signal.SIGTERM), True, f"exit status {status} after {step} ms")


@tap.test("the kick signal from outside does no harm", each=ACCELS)
def _(accel):
    halcyond_only()
    vm, client = start(accel, guests.on_all_vcpus("pio"), "-smp", "2")
    for _ in range(20):
        os.kill(vm.pid, signal.SIGURG)
    tap.equal(client.command("query-status")["status"], "running", "status")
    client.command("quit")
    vm.expect_exit(0)


@tap.test("the socket file is removed", each=["quit", "SIGTERM"])
def _(how):
    directory = temporary_directory()
    path = os.path.join(directory, "qmp.sock")
    vm = Vm("soft", guests.spin(), "-qmp", f"unix:{path},server=on,wait=off")
    client = connect(path, process=vm.daemon.process)
    if how == "quit":
        client.command("quit")
    else:
        os.kill(vm.pid, signal.SIGTERM)
    vm.expect_exit(0)
    tap.equal(os.path.exists(path), False, "the socket file exists")


@tap.test("what the guest wrote before quit is in the file after the reply", each=ACCELS)
def _(accel):
    text = "all of this must have arrived. " * 20
    extra, path = debugcon_file()
    _, client = start(accel, guests.prints(text), *extra)
    wait_text(path, text[:10])
    wait_text(path, text)
    client.command("quit")
    tap.equal(fixtures.read_file(path).decode(), text, "the file")


def receive_available(console):
    """What can be read from a socket without waiting, and whether its stream has ended."""
    received = 0
    while True:
        try:
            data = console.recv(65536, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return received, False
        if not data:
            return received, True
        received += len(data)


def backed_up_console(accel):
    """A VM with a console that nobody reads and in which nothing more fits: its client, the console."""
    path = os.path.join(temporary_directory(), "console.sock")
    target = f"unix:{path},server=on,wait=off"
    _, client = start(accel, guests.console_flood(), "-S", *fixtures.debugcon_options(target))
    console = socket.socket(socket.AF_UNIX)
    console.connect(path)
    client.command("cont")
    client.take_event_names()
    # The guest's flood stands still for its reader once the socket takes no more.
    before = -1
    while (queued := queued_bytes(console)) != before or queued == 0:
        before = queued
        time.sleep(0.05)
    return client, console


def queued_bytes(console):
    """Bytes that wait in a socket to be read (FIONREAD)."""
    count = array.array("i", [0])
    fcntl.ioctl(console, termios.FIONREAD, count)
    return count[0]


@tap.test("what the guest wrote before quit is on its way before the reply", each=ACCELS)
def _(accel):
    halcyond_only()
    client, console = backed_up_console(accel)
    client.send({"execute": "quit"})
    tap.equal(client.receive()["event"], "SHUTDOWN", "first message")
    # The reader wakes up only now: what the daemon holds must go out before it answers.
    received = 0
    while not client.has_input():
        received += receive_available(console)[0]
    tap.equal(client.receive(), {"return": {}}, "reply")
    received += receive_available(console)[0]
    late = 0
    ended = False
    while not ended:
        select.select([console], [], [], 10)
        more, ended = receive_available(console)
        late += more
    tap.equal(late, 0, "bytes that came after the reply")


@tap.test("a console that nobody reads does not hold up quit for long", each=ACCELS)
def _(accel):
    halcyond_only()
    client, console = backed_up_console(accel)
    begin = time.monotonic()
    client.command("quit")
    tap.equal(time.monotonic() - begin < 3, True, "answered within 3 s")
    console.close()


@tap.test("quit while clients come and go", each=ACCELS)
def _(accel):
    vm = Vm(accel, guests.pio_hammer(), monitors=3)
    stop = threading.Event()

    def churn(number):
        while not stop.is_set():
            try:
                QmpClient.connect(vm.daemon.paths[number], 2.0).close()
            except OSError:
                return

    threads = [threading.Thread(target=churn, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(0.1)
        vm.connect(0).command("quit")
        vm.expect_exit(0)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@tap.test("--quit-timeout is taken and changes nothing for a healthy guest", each=ACCELS)
def _(accel):
    halcyond_only()
    vm, client = start(accel, guests.pio_hammer(), "--quit-timeout", "1")
    tap.equal(client.command("quit"), {}, "reply")
    vm.expect_exit(0)


@tap.test("-machine none ends the same way", each=["quit", "SIGTERM"])
def _(how):
    daemon = Daemon(fixtures.BINARY, "-machine", "none", "-nodefaults", "-display", "none")
    tap.cleanup(daemon.kill)
    client = daemon.connect()
    tap.equal(client.command("query-cpus-fast"), [], "vCPUs")
    if how == "quit":
        client.send({"execute": "quit"})
        expect_end(client, "host-qmp-quit")
    else:
        os.kill(daemon.pid, signal.SIGTERM)
        expect_end(client, "host-signal", reply=False)
    tap.equal(daemon.wait(5), 0, "exit status")


if __name__ == "__main__":
    tap.main()
