#!/usr/bin/env python3
"""Character devices at run time: chardev-add, -change, -remove, -send-break, ring buffers, and descriptors that
clients pass. With HALCYOND=qemu-system-x86_64 it shows that QEMU answers the same."""

import base64
import fcntl
import json
import os
import re
import select
import socket
import time

import guests
import tap
from fixtures import (IS_QEMU, Vm, debugcon_options, halcyond_only, read_file, start,
                      temporary_directory, wait_text)
from qmp_client import QmpClient, QmpError


def backend(kind, **data):
    return {"type": kind, "data": data}


def unix(path, **more):
    return backend("socket", addr={"type": "unix", "data": {"path": path}}, **more)


def started(*extra):
    return start("soft", guests.spin(), "-S", *extra)[1]


def send_with_fd(client, fd, command, **arguments):
    """Sends a command and a descriptor in one message; its reply, or the QmpError."""
    text = json.dumps({"execute": command, "arguments": arguments})
    socket.send_fds(client.socket, [text.encode()], [fd])
    return client.receive_reply()


def error(client, command, **arguments):
    """The text that a command is refused with."""
    try:
        answer = client.command(command, **arguments)
    except QmpError as refused:
        return refused.desc
    raise AssertionError(f"{command} answered {answer}")


def expect_error(client, desc, command, **arguments):
    tap.equal(error(client, command, **arguments), desc)


def filenames(client):
    return {info["label"]: info["filename"] for info in client.command("query-chardev")}


# -- chardev-add and -remove --------------------------------------------------------------------------


@tap.test("chardev-add makes a device that query-chardev lists and chardev-remove removes")
def _():
    client = started()
    tap.equal(client.command("chardev-add", id="n", backend=backend("null")), {})
    tap.equal(filenames(client)["n"], "null")
    tap.equal(client.command("chardev-remove", id="n"), {})
    tap.equal("n" in filenames(client), False)


@tap.test("chardev-add of a pty tells its path")
def _():
    client = started()
    pty = client.command("chardev-add", id="p", backend=backend("pty"))["pty"]
    tap.equal(filenames(client)["p"], f"pty:{pty}")
    os.stat(pty)


@tap.test("chardev-add of a listening socket listens at once")
def _():
    client = started()
    path = os.path.join(temporary_directory(), "console")
    client.command("chardev-add", id="s", backend=unix(path, wait=False))
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(path)


@tap.test("chardev-add of a TCP socket names the port it got")
def _():
    client = started()
    address = {"type": "inet", "data": {"host": "127.0.0.1", "port": "0"}}
    client.command("chardev-add", id="s", backend=backend("socket", addr=address, wait=False))
    name = filenames(client)["s"]
    tap.equal(name.startswith("disconnected:tcp:127.0.0.1:"), True, name)
    port = int(name.split(":")[3].split(",")[0])
    socket.create_connection(("127.0.0.1", port)).close()


@tap.test("query-chardev tells a WebSocket server from one of plain TCP")
def _():
    client = started("-chardev", "socket,id=w,host=127.0.0.1,port=0,server=on,wait=off,websocket=on")
    name = filenames(client)["w"]
    tap.equal(re.fullmatch(r"disconnected:websocket:127\.0\.0\.1:\d+,server=on", name) is not None,
              True, name)


def tcp(host, port=0, **more):
    of_address = {name: more.pop(name) for name in ("numeric", "keep-alive") if name in more}
    address = {"type": "inet", "data": {"host": host, "port": str(port), **of_address}}
    return backend("socket", addr=address, **more)


@tap.test("chardev-add takes numeric, keep-alive, and that there is no telnet")
def _():
    client = started()
    with socket.create_server(("127.0.0.1", 0)) as server:
        client.command("chardev-add", id="c",
                       backend=tcp("127.0.0.1", server.getsockname()[1], server=False, numeric=True,
                                   telnet=False, tn3270=False, **{"keep-alive": True}))
        ours = server.getsockname()[1]
        server.accept()[0].close()
        tap.equal(str(ours) in filenames(client)["c"], True, "its name")
    client.command("chardev-add", id="s",
                   backend=tcp("127.0.0.1", server=True, wait=False, **{"keep-alive": True}))


@tap.test("chardev-add says what it does not support", each=["telnet", "tn3270"])
def _(what):
    halcyond_only()
    client = started()
    expect_error(client, f"Failed to add chardev 'x': '{what}' is not supported; say false", "chardev-add",
                 id="x", backend=tcp("127.0.0.1", server=True, wait=False, **{what: True}))


@tap.test("output goes to a device's logfile, too", each=["null", "ringbuf", "file", "socket", "fdset"])
def _(kind):
    halcyond_only()
    directory = temporary_directory()
    log, other = os.path.join(directory, "log"), os.path.join(directory, "other")
    with open(log, "wb") as file:
        file.write(b"before ")
    _, client = start("soft", guests.prints("by log"), "-S", "-chardev", "null,id=c",
                      *debugcon_options("chardev:c"))
    options = {"logfile": log, "logappend": True}
    if kind == "fdset":
        with open(log, "ab") as file:
            number = send_with_fd(client, file.fileno(), "add-fd")["return"]["fdset-id"]
        options["logfile"] = f"/dev/fdset/{number}"
    what = {"null": backend("null", **options), "ringbuf": backend("ringbuf", **options),
            "fdset": backend("null", **options), "file": backend("file", out=other, **options),
            "socket": unix(other, wait=False, **options)}[kind]
    client.command("chardev-change", id="c", backend=what)
    client.command("cont")
    wait_text(log, "before by log")
    if kind == "file":
        wait_text(other, "by log")


@tap.test("without logappend a logfile is emptied")
def _():
    client = started()
    path = os.path.join(temporary_directory(), "log")
    with open(path, "wb") as file:
        file.write(b"before")
    client.command("chardev-add", id="n", backend=backend("null", logfile=path))
    tap.equal(read_file(path), b"")


REFUSED = [
    ("an id in use", ("n", backend("null")), "Chardev with id 'n' already exists"),
    ("a kind nobody has", ("x", backend("bogus")),
     f"Parameter '{'' if IS_QEMU else 'backend.'}type' does not accept value 'bogus'"),
    ("a file that cannot be opened", ("x", backend("file", out="/nonexistent/x")), None),
    ("a server that is not there", ("x", unix("/nonexistent/x", server=False)), None),
    ("a WebSocket client", ("x", unix("/tmp/x", server=False, websocket=True)),
     "Failed to add chardev 'x': Websocket client is not implemented"),
    ("a server that reconnects", ("x", unix("/tmp/x", server=True, reconnect=3)),
     "Failed to add chardev 'x': 'reconnect' option is incompatible with socket in server listen mode"),
    ("a ring buffer of an odd size", ("x", backend("ringbuf", size=1000)),
     "Failed to add chardev 'x': size of ringbuf chardev must be power of two"),
    ("a name where an address was promised",
     ("x", tcp("localhost", numeric=True, server=True, wait=False)), None),
    ("a log that cannot be opened", ("x", backend("null", logfile="/nonexistent/x")), None),
    ("a descriptor nobody passed",
     ("x", backend("socket", addr={"type": "fd", "data": {"str": "f"}}, server=False)),
     "Failed to add chardev 'x': File descriptor named 'f' has not been found"),
]


@tap.test("chardev-add refuses", each=[(row[0], row) for row in REFUSED])
def _(row):
    _, (identifier, what), desc = row
    client = started("-chardev", "null,id=n")
    refused = error(client, "chardev-add", id=identifier, backend=what)
    if desc is None:
        tap.equal(refused.startswith("Failed to add chardev 'x': "), True, refused)
    else:
        tap.equal(refused, desc)
    tap.equal(sorted(filenames(client)), ["n", "test-mon0"])


@tap.test("chardev-remove refuses what is not there, a monitor's and a device's")
def _():
    client = started("-chardev", "null,id=n", "-serial", "chardev:n")
    expect_error(client, "Chardev 'x' not found", "chardev-remove", id="x")
    expect_error(client, "Chardev 'test-mon0' is busy", "chardev-remove", id="test-mon0")
    expect_error(client, "Chardev 'n' is busy", "chardev-remove", id="n")


# -- chardev-change and -send-break -------------------------------------------------------------------


@tap.test("chardev-change moves a running guest's console to another file")
def _():
    halcyond_only()
    directory = temporary_directory()
    first, second = os.path.join(directory, "1"), os.path.join(directory, "2")
    _, client = start("soft", guests.console_counter(), "-chardev", f"file,id=c,path={first}",
                      *debugcon_options("chardev:c"))
    wait_text(first, "0123")
    client.command("chardev-change", id="c", backend=backend("file", out=second))
    wait_text(second, "0123")
    size = os.path.getsize(first)
    client.command("stop")
    tap.equal(os.path.getsize(first), size, "the first file's size")


@tap.test("chardev-change refuses what is not there and a monitor's")
def _():
    client = started()
    expect_error(client, "Chardev 'x' does not exist", "chardev-change", id="x", backend=backend("null"))
    expect_error(client, "Chardev user does not support chardev hotswap", "chardev-change",
                 id="test-mon0", backend=backend("null"))


@tap.test("chardev-send-break knows its devices")
def _():
    client = started("-chardev", "null,id=n", "-serial", "chardev:n")
    tap.equal(client.command("chardev-send-break", id="n"), {})
    expect_error(client, "Chardev 'x' not found", "chardev-send-break", id="x")


# -- ring buffers -------------------------------------------------------------------------------------


@tap.test("ringbuf-read gives what the guest printed")
def _():
    halcyond_only()
    _, client = start("soft", guests.prints("by ring"), "-chardev", "ringbuf,id=r,size=64",
                      *debugcon_options("chardev:r"))
    seen = ""
    while seen != "by ring":
        seen += client.command("ringbuf-read", device="r", size=3)


@tap.test("ringbuf-write and -read in both formats")
def _():
    client = started("-chardev", "ringbuf,id=r")
    client.command("ringbuf-write", device="r", data="h\u00e4llo")
    tap.equal(client.command("ringbuf-read", device="r", size=3), "h\u00e4")
    tap.equal(client.command("ringbuf-read", device="r", size=9, format="base64"),
              base64.b64encode(b"llo").decode())
    client.command("ringbuf-write", device="r", data="AP9B", format="base64")
    tap.equal(client.command("ringbuf-read", device="r", size=9, format="base64"), "AP9B")


@tap.test("ring buffer commands refuse other devices and bad arguments")
def _():
    client = started("-chardev", "ringbuf,id=r", "-chardev", "null,id=n")
    expect_error(client, "Device 'x' not found", "ringbuf-write", device="x", data="x")
    expect_error(client, "n is not a ringbuf device", "ringbuf-read", device="n", size=1)
    expect_error(client, "size must be greater than zero", "ringbuf-read", device="r", size=0)
    if not IS_QEMU:  # which guesses what these mean
        for text in ["A", "A===", "=AAA"]:
            error(client, "ringbuf-write", device="r", data=text, format="base64")
    expect_error(client, "Base64 data contains invalid characters", "ringbuf-write", device="r",
                 data="!!!!", format="base64")


# -- descriptors --------------------------------------------------------------------------------------


@tap.test("getfd keeps a descriptor until closefd")
def _():
    client = started()
    reader, writer = os.pipe()
    tap.equal(send_with_fd(client, writer, "getfd", fdname="p"), {"return": {}})
    os.close(writer)
    os.set_blocking(reader, False)
    try:
        os.read(reader, 1)
        raise AssertionError("the writing end is closed")
    except BlockingIOError:
        pass
    tap.equal(client.command("closefd", fdname="p"), {})
    tap.equal(os.read(reader, 1), b"")
    expect_error(client, "File descriptor named 'p' not found", "closefd", fdname="p")


@tap.test("getfd and add-fd refuse a command without a descriptor")
def _():
    client = started()
    expect_error(client, "No file descriptor supplied via SCM_RIGHTS", "getfd", fdname="p")
    expect_error(client, "No file descriptor supplied via SCM_RIGHTS", "add-fd")


@tap.test("a passed descriptor is made to wait, as a client's own would")
def _():
    client = started()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    tap.equal(send_with_fd(client, writer, "getfd", fdname="p"), {"return": {}})
    tap.equal(os.get_blocking(writer), True)
    os.close(reader)
    os.close(writer)


@tap.test("a pipe that was passed and that nobody empties holds up no monitor")
def _():
    halcyond_only()
    _, client = start("soft", guests.console_counter(), "-chardev", "null,id=c",
                      *debugcon_options("chardev:c"))
    reader, writer = os.pipe()
    os.write(writer, bytes(fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ)))
    number = send_with_fd(client, writer, "add-fd")["return"]["fdset-id"]
    client.command("chardev-change", id="c", backend=backend("file", out=f"/dev/fdset/{number}"))
    for _ in range(10):  # the guest writes meanwhile
        tap.equal(client.command("query-status", timeout=5)["running"], True)
        time.sleep(0.02)
    client.command("quit", timeout=5)
    os.close(reader)
    os.close(writer)


@tap.test("a second descriptor of a message is not kept for the next command")
def _():
    client = started()
    reader, writer = os.pipe()
    text = json.dumps({"execute": "getfd", "arguments": {"fdname": "a"}})
    socket.send_fds(client.socket, [text.encode()], [reader, writer])
    tap.equal(client.receive_reply(), {"return": {}})
    os.close(writer)
    expect_error(client, "No file descriptor supplied via SCM_RIGHTS", "getfd", fdname="b")
    tap.equal(os.read(reader, 1), b"")
    os.close(reader)


@tap.test("getfd refuses a name that begins with a digit")
def _():
    client = started()
    with open("/dev/null", "rb") as file:
        reply = send_with_fd(client, file.fileno(), "getfd", fdname="1p")
    tap.equal(reply["error"]["desc"], "Parameter 'fdname' expects a name not starting with a digit")


@tap.test("add_client gives a socket server its client")
def _():
    halcyond_only()  # QEMU's own add_client of a chardev wants TLS off explicitly, and 7.2 refuses it
    path = os.path.join(temporary_directory(), "console")
    client = started("-chardev", f"socket,id=s,path={path},server=on,wait=off", "-serial", "chardev:s")
    ours, theirs = socket.socketpair()
    send_with_fd(client, theirs.fileno(), "getfd", fdname="c")
    theirs.close()
    tap.equal(client.command("add_client", protocol="s", fdname="c"), {})
    tap.equal(filenames(client)["s"], f"unix:{path},server=on")
    ours.close()


@tap.test("add_client refuses an unknown device and an unknown descriptor")
def _():
    client = started()
    expect_error(client, "File descriptor named 'c' has not been found", "add_client", protocol="x",
                 fdname="c")
    with open("/dev/null", "rb") as file:
        send_with_fd(client, file.fileno(), "getfd", fdname="c")
    expect_error(client, "protocol 'x' is invalid", "add_client", protocol="x", fdname="c")


@tap.test("a chardev takes over a connected socket that was passed")
def _():
    client = started()
    ours, theirs = socket.socketpair()
    send_with_fd(client, theirs.fileno(), "getfd", fdname="c")
    theirs.close()
    client.command("chardev-add", id="s",
                   backend=backend("socket", addr={"type": "fd", "data": {"str": "c"}}, server=False))
    expect_error(client, "File descriptor named 'c' not found", "closefd", fdname="c")
    client.command("chardev-remove", id="s")
    tap.equal(ours.recv(1), b"")


@tap.test("add-fd, query-fdsets and remove-fd")
def _():
    client = started()
    with open("/dev/null", "wb") as file:
        first = send_with_fd(client, file.fileno(), "add-fd", opaque="note")["return"]
        second = send_with_fd(client, file.fileno(), "add-fd", **{"fdset-id": 7})["return"]
        negative = send_with_fd(client, file.fileno(), "add-fd", **{"fdset-id": -1})
    tap.equal(first["fdset-id"], 0)
    tap.equal(second["fdset-id"], 7)
    tap.equal(negative["error"]["desc"], "Parameter 'fdset-id' expects a non-negative value")
    sets = {entry["fdset-id"]: entry["fds"] for entry in client.command("query-fdsets")}
    tap.equal(sets, {0: [{"fd": first["fd"], "opaque": "note"}], 7: [{"fd": second["fd"]}]})
    expect_error(client, "File descriptor named 'fdset-id:0, fd:9999' not found", "remove-fd",
                 **{"fdset-id": 0, "fd": 9999})
    tap.equal(client.command("remove-fd", **{"fdset-id": 0, "fd": first["fd"]}), {})
    expect_error(client, "File descriptor named 'fdset-id:9' not found", "remove-fd", **{"fdset-id": 9})


@tap.test("a file of /dev/fdset goes to the descriptor that was added")
def _():
    client = started()
    path = os.path.join(temporary_directory(), "out")
    with open(path, "wb") as file:
        number = send_with_fd(client, file.fileno(), "add-fd")["return"]["fdset-id"]
    client.command("chardev-add", id="f", backend=backend("file", out=f"/dev/fdset/{number}"))
    error(client, "chardev-add", id="g", backend=backend("file", out="/dev/fdset/99"))
    tap.equal(read_file(path), b"")


@tap.test("fd sets go when the last client of a running VM has gone")
def _():
    halcyond_only()
    vm, client = start("soft", guests.spin())
    with open("/dev/null", "wb") as file:
        send_with_fd(client, file.fileno(), "add-fd")
    client.close()
    again = vm.connect()
    tap.equal(again.command("query-fdsets"), [])


# -- yank ---------------------------------------------------------------------------------------------


def instance(name):
    return {"type": "chardev", "id": name}


@tap.test("query-yank lists the devices on sockets")
def _():
    client = started("-chardev", "null,id=n")
    path = os.path.join(temporary_directory(), "socket")
    client.command("chardev-add", id="s", backend=unix(path, server=True, wait=False))
    listed = [entry["id"] for entry in client.command("query-yank")]
    tap.equal(sorted(listed), ["s", "test-mon0"], "instances")


@tap.test("yank refuses what is not there, and then cuts nothing")
def _():
    client = started("-chardev", "null,id=n")
    for other in (instance("n"), instance("none"), {"type": "migration"},
                  {"type": "block-node", "node-name": "x"}):
        reply = client.execute("yank", {"instances": [instance("test-mon0"), other]})
        tap.equal((reply["error"]["class"], reply["error"]["desc"]),
                  ("DeviceNotFound", "Instance not found"), "error")


@tap.test("a yanked monitor's client sees the end, and the next one is served")
def _():
    vm, client = start("soft", guests.spin(), "-S", monitors=2)
    stuck = vm.connect(1)
    client.command("yank", instances=[instance("test-mon1")])
    tap.equal(stuck.receive_until_closed(5), [])
    vm.connect(1)
    if IS_QEMU:
        return  # it gives the reply of one that yanks itself to the next client
    client.send({"execute": "yank", "arguments": {"instances": [instance("test-mon0")]}})
    client.receive_until_closed(5)
    vm.connect(0)


@tap.test("an out-of-band yank overtakes a command that waits for a file")
def _():
    vm = Vm("soft", guests.spin(), "-S")
    client = vm.connect(enable=["oob"])
    fifo = os.path.join(temporary_directory(), "fifo")
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    size = 1 << 20  # more than a pipe takes
    client.send({"execute": "pmemsave", "id": "slow",
                 "arguments": {"val": 0, "size": size, "filename": fifo}})
    client.send({"execute": "query-name", "id": "behind"})
    client.send({"exec-oob": "query-yank", "id": "oob"})
    tap.equal(client.receive()["id"], "oob", "the first reply")
    select.select([reader], [], [], 10)  # until there is a writer
    os.set_blocking(reader, True)
    with open(reader, "rb") as file:
        tap.equal(len(file.read()), size, "bytes saved")
    tap.equal([client.receive()["id"] for _ in range(2)], ["slow", "behind"], "the others")


# -- transports ---------------------------------------------------------------------------------------


@tap.test("a QMP monitor over TCP serves until the reply to quit")
def _():
    probe = socket.socket()
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
    probe.close()
    vm, _ = start("soft", guests.spin(), "-qmp", f"tcp:127.0.0.1:{port},server=on,wait=off")
    with QmpClient(socket.create_connection(("127.0.0.1", port))) as client:
        client.negotiate()
        tap.equal(client.command("query-status")["running"], True)
        tap.equal(client.command("quit"), {})
    vm.expect_exit(0)


if __name__ == "__main__":
    tap.main()
