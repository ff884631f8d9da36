#!/usr/bin/env python3
"""The monitor's wire: greeting, negotiation, framing, errors, clients that misbehave."""

import json
import os
import random
import socket
import time

import guests
import tap
from fixtures import (ACCELS, IS_QEMU, Vm, connect, debugcon_file, halcyond_only, read_file, start,
                      temporary_directory, wait_text)
from qmp_client import QmpClient, QmpClosed

QUIET = ["-S"]


def raw_client(**keywords):
    """A VM and a client that has read nothing yet."""
    vm = Vm("soft", guests.spin(), *QUIET, **keywords)
    return vm, vm.connect(negotiate=False)


def error_of(client, request):
    client.send_raw(request if isinstance(request, bytes) else json.dumps(request).encode())
    reply = client.receive_reply(5)
    return reply["error"]["class"], reply["error"]["desc"], reply.get("id")


@tap.test("the greeting has the version and offers oob first")
def _():
    _, client = raw_client()
    line = client.receive_line()
    greeting = json.loads(line)
    tap.equal(list(greeting), ["QMP"], "members")
    version = greeting["QMP"]["version"]
    tap.equal(sorted(version["qemu"]), ["major", "micro", "minor"], "members of version")
    tap.equal(type(version["package"]), str, "type of package")
    tap.equal(greeting["QMP"]["capabilities"][0], "oob", "first capability")


@tap.test("lines end with CR LF and are ASCII")
def _():
    _, client = raw_client()
    client.negotiate()
    client.send_raw('{"execute": "no-\u00fc", "id": "\u20ac \U0001f600"}'.encode())
    time.sleep(0.05)
    data = client.socket.recv(65536)
    tap.equal(data.endswith(b"\r\n"), True, "CR LF")
    tap.equal(all(byte < 0x7F for byte in data), True, "ASCII")
    tap.equal(json.loads(data)["id"], "\u20ac \U0001f600", "id")


@tap.test("before negotiation every command is CommandNotFound",
          each=["query-status", "quit", "no-such-command"])
def _(command):
    _, client = raw_client()
    client.expect_greeting()
    tap.equal(error_of(client, {"execute": command, "id": 1}),
              ("CommandNotFound", "Expecting capabilities negotiation with 'qmp_capabilities'", 1),
              "reply")


@tap.test("negotiation with an unknown capability fails; then one without succeeds")
def _():
    _, client = raw_client()
    client.expect_greeting()
    reply = client.execute("qmp_capabilities", {"enable": ["oob", "warp"]})
    tap.equal(reply["error"]["class"], "GenericError", "class")
    reply = client.execute("query-status")
    tap.equal(reply["error"]["class"], "CommandNotFound", "still not negotiated")
    client.negotiate()
    tap.equal(client.command("query-status")["status"], "prelaunch", "status")


@tap.test("negotiating twice is an error")
def _():
    _, client = start("soft", guests.spin(), *QUIET)
    tap.equal(error_of(client, {"execute": "qmp_capabilities"})[:2],
              ("CommandNotFound",
               "Capabilities negotiation is already complete, command ignored"), "reply")


@tap.test("no event before negotiation, none kept for later")
def _():
    vm = Vm("soft", guests.spin(), monitors=2)
    late = vm.connect(1, negotiate=False)
    late.expect_greeting()
    first = vm.connect(0)
    first.command("stop")
    late.send({"execute": "qmp_capabilities"})
    tap.equal(late.receive(), {"return": {}}, "first message")
    first.command("cont")
    tap.equal(late.receive()["event"], "RESUME", "next message")


IDS = [("null", None), ("false", False), ("number", 17), ("negative", -2**63), ("uint64", 2**64 - 1),
       ("float", 1.5), ("empty string", ""), ("list", [1, [2, {"a": "b"}]]), ("object", {"x": {}})]


@tap.test("id is echoed, in a return and in an error", each=IDS)
def _(identity):
    _, client = start("soft", guests.spin(), *QUIET)
    client.send({"execute": "query-name", "id": identity})
    reply = client.receive()
    tap.equal((reply["id"], "return" in reply), (identity, True), "return")
    client.send({"execute": "no-such", "id": identity})
    reply = client.receive()
    tap.equal((reply["id"], "error" in reply), (identity, True), "error")


FAULTS = [
    ("parse error", b'{"execute" "x", "id": 1}\n', ("GenericError", None, None)),
    ("not an object", b"[1, 2]", ("GenericError", "QMP input must be a JSON object", None)),
    ("no execute", b'{"id": 3}', ("GenericError", "QMP input lacks member 'execute'", 3)),
    ("execute not a string", b'{"execute": 1, "id": 3}',
     ("GenericError", "QMP input member 'execute' must be a string", 3)),
    ("arguments not an object", b'{"execute": "quit", "arguments": null, "id": 3}',
     ("GenericError", "QMP input member 'arguments' must be an object", 3)),
    ("unexpected member", b'{"execute": "quit", "extra": 1, "id": 3}',
     ("GenericError", "QMP input member 'extra' is unexpected", 3)),
    ("unknown command", b'{"execute": "no-such", "id": 3}',
     ("CommandNotFound", "The command no-such has not been found", 3)),
    ("exec-oob without the capability", b'{"exec-oob": "quit", "id": 3}',
     ("GenericError", "QMP input member 'exec-oob' is unexpected", 3)),
    ("unexpected argument", b'{"execute": "query-status", "arguments": {"x": 1}, "id": 3}',
     ("GenericError", "Parameter 'x' is unexpected", 3)),
    ("mistyped argument", b'{"execute": "set-action", "arguments": {"reboot": 1}, "id": 3}',
     ("GenericError", "Invalid parameter type for 'reboot', expected: string", 3)),
    ("bad enum value", b'{"execute": "set-action", "arguments": {"reboot": "x"}, "id": 3}',
     ("GenericError", "Parameter 'reboot' does not accept value 'x'", 3)),
    ("bad control character", b'\x01', ("GenericError", None, None)),
    ("surplus bracket", b"}", ("GenericError", "JSON parse error, expecting value", None)),
]


@tap.test("a faulty request gets its error, and the next one is served",
          each=[(name, (request, expected)) for name, request, expected in FAULTS])
def _(case):
    request, (expected_class, expected_text, expected_id) = case
    _, client = start("soft", guests.spin(), *QUIET)
    actual_class, text, identity = error_of(client, request)
    tap.equal((actual_class, identity), (expected_class, expected_id), f"class and id ({text})")
    if expected_text is not None:
        tap.equal(text, expected_text, "desc")
    # A parse error may bring more than one error; the probe's id tells its reply.
    client.send_raw(b'\n{"execute": "query-name", "id": "probe"}')
    while client.receive_reply(5).get("id") != "probe":
        pass


@tap.test("a hundred requests in one write are answered in order")
def _():
    _, client = start("soft", guests.spin(), *QUIET)
    client.send_raw(b"".join(b'{"execute":"query-status","id":%d}' % n for n in range(100)))
    tap.equal([client.receive()["id"] for _ in range(100)], list(range(100)), "ids")


@tap.test("greeting, negotiation and commands all pipelined behind connect")
def _():
    _, client = raw_client()
    client.send_raw(b'{"execute":"qmp_capabilities"}{"execute":"query-status","id":1}')
    client.expect_greeting()
    tap.equal(client.receive(), {"return": {}}, "negotiation")
    tap.equal(client.receive()["id"], 1, "id")


@tap.test("one request over many writes, byte by byte")
def _():
    _, client = start("soft", guests.spin(), *QUIET)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    for byte in b'{ "execute" : "query-status", "id": "\\u0041" }':
        client.send_raw(bytes([byte]))
        time.sleep(0.0005)
    tap.equal(client.receive()["id"], "A", "id")


@tap.test("a request is acted on at its last bracket, without a newline")
def _():
    _, client = start("soft", guests.spin(), *QUIET)
    client.send_raw(b'{"execute":"query-status"}')
    tap.equal("return" in client.receive(2), True, "a return")


@tap.test("single quotes are taken for double ones")
def _():
    _, client = start("soft", guests.spin(), *QUIET)
    client.send_raw(b"{'execute': 'query-status', 'id': 'it\\'s'}")
    tap.equal(client.receive()["id"], "it's", "id")


@tap.test("a large request", each=["1 MiB id"])
def _(_case):
    _, client = start("soft", guests.spin(), *QUIET)
    text = "x" * (1 << 20)
    client.send({"execute": "query-name", "id": text})
    tap.equal(client.receive(60)["id"] == text, True, "the id came back")


@tap.test("garbage: errors, and after 0xFF the stream is clean", each=range(8))
def _(seed):
    _, client = start("soft", guests.spin(), *QUIET)
    random.seed(seed)
    garbage = random.randbytes(3000) if seed % 2 else bytes(
        random.choice(b'{}[]:,"\'\\ \n0123456789eE+-.truefalsn') for _ in range(3000))
    client.send_raw(garbage + b'\xff\n{"execute": "query-name", "id": "probe"}')
    errors = 0
    while True:
        reply = client.receive_reply(20)
        if reply.get("id") == "probe":
            break
        tap.equal(reply["error"]["class"] in ("GenericError", "CommandNotFound"), True,
                  f"an error reply: {reply}")
        errors += 1
    tap.equal(errors > 0, True, "errors were told")
    tap.equal(client.command("query-status")["status"], "prelaunch", "status")


@tap.test("deep nesting is an error, not a crash")
def _():
    _, client = start("soft", guests.spin(), *QUIET)
    client.send_raw(b"[" * 5000 + b'\xff\n{"execute": "query-name", "id": "probe"}')
    first = client.receive_reply(10)
    tap.equal(first["error"]["desc"], "JSON nesting depth limit exceeded", "desc")
    while client.receive_reply(10).get("id") != "probe":
        pass


@tap.test("a client that says nothing holds up neither the guest nor other monitors", each=ACCELS)
def _(accel):
    extra, path = debugcon_file()
    vm = Vm(accel, guests.console_counter(), *extra, monitors=2)
    silent = vm.connect(1, negotiate=False)
    other = vm.connect(0)
    size = len(read_file(path))
    tap.wait_until(lambda: len(read_file(path)) > size, "the guest runs")
    tap.equal(other.command("query-status")["status"], "running", "status")
    silent.negotiate()
    other.command("quit")
    vm.expect_exit(0)


@tap.test("a client that hangs up in the middle of a command is forgotten")
def _():
    vm, client = start("soft", guests.spin(), *QUIET)
    client.send_raw(b'{"execute": "qu')
    client.close()
    second = vm.connect(negotiate=False)
    second.expect_greeting()
    second.send_raw(b'it"}')  # What the first began must not be completed by this.
    second.send_raw(b'\xff\n{"execute": "qmp_capabilities", "id": 1}')
    while second.receive_reply(5).get("id") != 1:
        pass
    tap.equal(second.command("query-status")["status"], "prelaunch", "status")


@tap.test("a client that resets the connection is forgotten", each=range(3))
def _(turn):
    vm, client = start("soft", guests.spin())
    client.send_raw(b'{"execute": "query-commands"}' * (1 + turn * 200))
    client.close()  # With replies unread this is a reset of the connection.
    second = vm.connect()
    tap.equal(second.command("query-status")["status"], "running", "status")


@tap.test("five hundred clients in a row, each with a session of its own")
def _():
    vm = Vm("soft", guests.spin(), *QUIET)
    for number in range(500):
        client = QmpClient.connect(vm.daemon.paths[0], 5)
        client.expect_greeting()
        if number % 3:
            client.negotiate()
        client.close()
    descriptors = len(os.listdir(f"/proc/{vm.pid}/fd"))
    tap.equal(descriptors < 60, True, f"{descriptors} open descriptors")


@tap.test("one client at a time: the second sees its greeting when the first has gone")
def _():
    vm = Vm("soft", guests.spin(), *QUIET)
    first = vm.connect()
    second = vm.connect(negotiate=False)
    try:
        second.receive(0.2)
        raise AssertionError("the second client was greeted")
    except TimeoutError:
        pass
    tap.equal(first.command("query-status")["status"], "prelaunch", "status")
    first.close()
    second.negotiate(timeout=5)


@tap.test("a half-closed client gets its reply, then the end of the stream")
def _():
    _, client = start("soft", guests.spin(), *QUIET)
    client.send({"execute": "query-status", "id": 5})
    client.socket.shutdown(socket.SHUT_WR)
    tap.equal([message["id"] for message in client.receive_until_closed(5)], [5], "ids")


@tap.test("a client that never reads does not hold up others", each=ACCELS)
def _(accel):
    vm = Vm(accel, guests.spin(), monitors=2)
    stuck = vm.connect(0)
    other = vm.connect(1)
    stuck.socket.setblocking(False)
    sent = 0
    idle = 0
    request = b'{"execute": "query-commands"}' * 200
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline and sent < 400_000 and idle < 50:
        try:
            sent += stuck.socket.send(request)
        except BlockingIOError:
            idle += 1
            time.sleep(0.002)
    started = time.monotonic()
    tap.equal(other.command("query-status", timeout=5)["status"], "running", "status")
    other.command("stop", timeout=5)
    tap.diagnose(f"{sent} bytes taken; others served in {time.monotonic() - started:.3f} s")


@tap.test("a client that never reads does not make the daemon grow without end")
def _():
    halcyond_only()
    vm = Vm("soft", guests.spin(), *QUIET)
    client = vm.connect()
    client.socket.setblocking(False)
    request = b'{"execute": "query-commands"}' * 2000
    deadline = time.monotonic() + 3
    sent = 0
    idle = 0
    while time.monotonic() < deadline and idle < 100:
        try:
            sent += client.socket.send(request)
            idle = 0
        except BlockingIOError:
            idle += 1
            time.sleep(0.003)
    with open(f"/proc/{vm.pid}/status", encoding="ascii") as file:
        resident = next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
    tap.diagnose(f"{sent} bytes of requests taken, resident {resident} KiB")
    tap.equal(resident < 200_000, True, "resident memory below 200 MB")
    tap.equal(idle >= 100, True, "the daemon stopped reading")


@tap.test("queries answer", each=[
    "query-version", "query-commands", "query-qmp-schema", "query-status", "query-name",
    "query-uuid", "query-machines", "query-cpus-fast", "query-kvm", "query-target"])
def _(command):
    _, client = start("soft", guests.spin(), *QUIET)
    client.command(command)


@tap.test("query-version is the greeting's version")
def _():
    _, client = start("soft", guests.spin(), *QUIET)
    tap.equal(client.command("query-version"), client.greeting["QMP"]["version"], "version")


@tap.test("query-commands lists what there is")
def _():
    _, client = start("soft", guests.spin(), *QUIET)
    names = {entry["name"] for entry in client.command("query-commands")}
    wanted = {"qmp_capabilities", "quit", "stop", "cont", "system_reset", "query-status",
              "query-cpus-fast", "query-commands", "query-qmp-schema", "system_powerdown"}
    tap.equal(wanted - names, set(), "missing")


@tap.test("query-qmp-schema: every type resolves, every command of query-commands is there")
def _():
    _, client = start("soft", guests.spin(), *QUIET)
    schema = {entry["name"]: entry for entry in client.command("query-qmp-schema")}
    for entry in schema.values():
        for key in ("arg-type", "ret-type", "element-type"):
            if key in entry:
                tap.equal(entry[key] in schema, True, f"{key} of {entry['name']} resolves")
        for member in entry.get("members", []):
            if isinstance(member, dict) and "type" in member:
                tap.equal(member["type"] in schema, True, f"type of {entry['name']}.{member}")
    commands = {name for name, entry in schema.items() if entry["meta-type"] == "command"}
    listed = {entry["name"] for entry in client.command("query-commands")}
    tap.equal(listed - commands, set(), "listed but not in the schema")
    events = {name for name, entry in schema.items() if entry["meta-type"] == "event"}
    tap.equal({"STOP", "RESUME", "RESET", "SHUTDOWN", "POWERDOWN"} - events, set(), "events")


@tap.test("query-name and query-uuid give what the command line said")
def _():
    uuid = "12345678-9abc-def0-1234-56789abcdef0"
    _, client = start("soft", guests.spin(), *QUIET, "-name", "sea", "-uuid", uuid)
    if not IS_QEMU:  # Where the tests give QEMU a -name of their own.
        tap.equal(client.command("query-name"), {"name": "sea"}, "query-name")
    tap.equal(client.command("query-uuid"), {"UUID": uuid}, "query-uuid")


@tap.test("query-kvm tells which accelerator runs the guest", each=ACCELS)
def _(accel):
    _, client = start(accel, guests.spin(), *QUIET)
    tap.equal(client.command("query-kvm")["enabled"], accel == "kvm", "enabled")


@tap.test("-qmp unix:...,server=on,wait=on: nothing runs before a client comes")
def _():
    directory = temporary_directory()
    path = os.path.join(directory, "waiting.sock")
    extra, console = debugcon_file()
    vm = Vm("soft", guests.prints("x"), *extra, "-qmp", f"unix:{path},server=on,wait=on")
    tap.wait_until(lambda: os.path.exists(path), "the socket")
    time.sleep(0.1)
    tap.equal(read_file(console), b"", "what the guest printed")
    client = connect(path, process=vm.daemon.process)
    wait_text(console, "x")
    client.command("quit")
    vm.expect_exit(0)


@tap.test("several -qmp, each with its clients")
def _():
    directory = temporary_directory()
    paths = [os.path.join(directory, f"{number}.sock") for number in range(3)]
    extra = [word for path in paths for word in ("-qmp", f"unix:{path},server=on,wait=off")]
    vm = Vm("soft", guests.spin(), *QUIET, *extra)
    clients = [connect(path, process=vm.daemon.process) for path in paths]
    for client in clients:
        tap.equal(client.command("query-status")["status"], "prelaunch", "status")
    clients[1].command("quit")
    for client in (clients[0], clients[2]):
        tap.equal(client.receive()["event"], "SHUTDOWN", "event")
        try:
            client.receive(5)
            raise AssertionError("a message after SHUTDOWN")
        except QmpClosed:
            pass


@tap.test("with oob negotiated, exec-oob of an in-band command is refused by name")
def _():
    vm = Vm("soft", guests.spin(), *QUIET)
    client = vm.connect(enable=["oob"])
    client.send({"exec-oob": "query-status", "id": 1})
    reply = client.receive(5)
    tap.equal(reply["error"]["desc"], "The command query-status does not support OOB", "desc")
    tap.equal(reply["id"], 1, "id")


if __name__ == "__main__":
    tap.main()
