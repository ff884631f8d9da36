#!/usr/bin/env python3
"""halcyonctl with servers that are wrong, slow, old, or another's: an error in one line, never a crash."""

import os
import shutil
import socket
import subprocess
import threading

import ctl  # also says where the other modules are
import tap
from ctl import GREETING, NO_CONNECTION, OK, SERVER_ERROR, SUCCESS, TIMEOUT, play, reply


def fault(path, status, *texts, words=("status",)):
    actual, output, errors = ctl.run("-s", path, "-t", "5", *words)
    tap.equal((actual, output, errors.count("\n")), (status, "", 1),
              f"status, output, lines of {errors!r}")
    for text in texts:
        tap.equal(text in errors, True, f"{text!r} in {errors!r}")


WRONG_GREETINGS = [
    ("nothing", b"", "without a greeting"),
    ("a web server's", b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak QMP"),
    ("zeros", b"\0" * 100, "does not speak QMP"),
    ("JSON of another kind", b'{"hello": 1}', "does not speak QMP"),
    ("a number", b"17\n", "does not speak QMP"),
    ("a list", b"[1, 2]", "does not speak QMP"),
    ("half a greeting", b'{"QMP": {"version"', "without a greeting"),
    ("bytes that are no UTF-8", b'{"QMP": "\xff\xfe"}', "QMP"),
    ("deep brackets", b"[" * 5000, "does not speak QMP"),
]


@tap.test("a greeting that is none is 3", each=[(row[0], row) for row in WRONG_GREETINGS])
def _(row):
    fault(play(greeting=row[1]), NO_CONNECTION, row[2])


@tap.test("random bytes are 3")
def _():
    data = bytes((17 * i * i + 31 * i) % 256 for i in range(20000))
    fault(play(greeting=data), NO_CONNECTION)


WRONG_ANSWERS = [
    ("garbage", b"what?\r\n", "does not speak QMP"),
    ("neither reply nor event", b'{"id": 2}', "neither reply nor event"),
    ("no object", b"3 ", "neither reply nor event"),
    ("half a reply", b'{"return": {', "closed the connection"),
]


@tap.test("an answer that is none is 3", each=[(row[0], row) for row in WRONG_ANSWERS])
def _(row):
    fault(play(OK, row[1]), NO_CONNECTION, row[2])


@tap.test("a server that closes before it answers is 3")
def _():
    fault(play(OK), NO_CONNECTION, "closed the connection")


@tap.test("a server that does not negotiate is 3")
def _():
    fault(play(reply('{"error": {"class": "GenericError", "desc": "no"}, "id": ID}')),
          NO_CONNECTION, "does not negotiate: no")


SHAPES = ["null", "3", '"text"', "[]", "[3]", '{"status": 4}', '{"status": []}']


@tap.test("answers of another shape are printed, or left out", each=SHAPES)
def _(shape):
    answer = reply('{"return": %s, "id": ID}' % shape)
    for command, count in [("status", 1), ("info", 7)]:
        path = play(OK, *[answer] * count)
        status, _, errors = ctl.run("-s", path, command)
        tap.equal((status, errors), (SUCCESS, ""), command)


@tap.test("an error of another shape is an error")
def _():
    for shape in ("3", "{}", '{"class": 3, "desc": []}'):
        path = play(OK, reply('{"error": %s, "id": ID}' % shape))
        tap.equal(ctl.run("-s", path, "status")[0], SERVER_ERROR, shape)


@tap.test("an error's class is told, unless it is GenericError")
def _():
    path = play(OK, reply('{"error": {"class": "DeviceNotFound", "desc": "none"}, "id": ID}'))
    fault(path, SERVER_ERROR, "status: none (DeviceNotFound)")


@tap.test("an error's text cannot drive the terminal")
def _():
    path = play(OK, reply('{"error": {"class": "X", "desc": "a\\u001b[2J\\nb"}, "id": ID}'))
    fault(path, SERVER_ERROR, "a\\x1b[2J\\nb")


@tap.test("a schema of another shape is no crash", each=["3", "[3, {}]", '[{"name": "x"}]'])
def _(shape):
    path = play(OK, reply('{"return": %s, "id": ID}' % shape))
    tap.equal(ctl.run("-s", path, "x", "a=1")[0] in (2, 3), True)


@tap.test("without a schema arguments are guessed")
def _():
    seen = []

    def answer(line):
        seen.append(line)
        return OK(line)

    path = play(OK, reply('{"error": {"class": "CommandNotFound", "desc": ""}, "id": ID}'), answer)
    tap.equal(ctl.run("-s", path, "do", "a=1", "b=x"), (SUCCESS, "", ""))
    tap.equal(b'"arguments": {"a": 1, "b": "x"}' in seen[0], True, seen)


@tap.test("a server that does not answer is 4")
def _():
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    tap.cleanup(listener.close)
    path = os.path.join(ctl.temporary_directory(), "silent.sock")
    listener.bind(path)
    listener.listen(1)
    status, _, errors = ctl.run("-s", path, "-t", "0.1", "status")
    tap.equal((status, errors.count("\n")), (TIMEOUT, 1), errors)


@tap.test("a command whose answer does not come is 4")
def _():
    given_up = threading.Event()

    def silent(_line):
        given_up.wait(10)
        return b""

    path = play(OK, silent)
    status, _, errors = ctl.run("-s", path, "-t", "0.2", "status")
    given_up.set()
    tap.equal((status, errors), (TIMEOUT, "halcyonctl: no answer in time\n"))


@tap.test("messages may come in any pieces, and events between")
def _():
    event = b'{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "STOP"}\r\n'
    path = play(lambda line: event + OK(line) + event[:10],
                lambda line: event[10:] + b'{"return": {"status": "odd"}, "id": 2}\r\n')
    tap.equal(ctl.run("-s", path, "status"), (SUCCESS, "odd\n", ""))


@tap.test("a late answer to another request is not taken for this one's")
def _():
    path = play(OK, lambda line: b'{"return": {"status": "old"}, "id": 99}'
                b'{"return": {"status": "new"}, "id": 2}')
    tap.equal(ctl.run("-s", path, "status"), (SUCCESS, "new\n", ""))


@tap.test("stop-service: a machine that is gone before quit is answered was to end anyway")
def _():
    shutdown = b'{"event": "SHUTDOWN", "data": {"guest": true}}'
    path = play(OK, reply('{"return": {"status": "running"}, "id": ID}'),
                lambda line: OK(line) + shutdown)
    tap.equal(ctl.run("-s", path, "stop-service"), (SUCCESS, "", ""))


@tap.test("stop-service: a refused powerdown does not keep the machine from its end")
def _():
    path = play(OK, reply('{"return": {"status": "running"}, "id": ID}'),
                reply('{"error": {"class": "GenericError", "desc": "not now"}, "id": ID}'), OK)
    status, output, errors = ctl.run("-s", path, "stop-service")
    tap.equal((status, output, errors),
              (SUCCESS, "", "halcyonctl: the guest cannot be asked: not now\n"))


@tap.test("stop-service: a refused quit is 1")
def _():
    path = play(OK, reply('{"return": {"status": "paused"}, "id": ID}'),
                reply('{"error": {"class": "GenericError", "desc": "vCPU 0 is stuck"}, "id": ID}'))
    status, _, errors = ctl.run("-s", path, "stop-service")
    tap.equal((status, "vCPU 0 is stuck" in errors), (SERVER_ERROR, True), errors)


@tap.test("QEMU is controlled too")
def _():
    qemu = shutil.which("qemu-system-x86_64")
    if qemu is None:
        tap.skip("qemu-system-x86_64 is not installed")
    path = os.path.join(ctl.temporary_directory(), "qemu.sock")
    with subprocess.Popen([qemu, "-M", "none", "-nodefaults", "-display", "none", "-name", "guest=q",
                           "-qmp", f"unix:{path},server=on,wait=off"]) as process:
        tap.cleanup(process.kill)
        ctl.QmpClient.connect_when_listening(path, 15, process).close()
        tap.equal(ctl.run("-s", path, "status"), (SUCCESS, "running\n", ""))
        status, output, errors = ctl.run("-s", path, "info")
        tap.equal((status, errors, "name:        q\n" in output), (SUCCESS, "", True), output)
        status, output, errors = ctl.run("-s", path, "object-add", "qom-type=rng-random", "id=r",
                                         "filename=/dev/urandom")
        tap.equal((status, output, errors), (SUCCESS, "", ""))
        tap.equal(ctl.run("-s", path, "quit"), (SUCCESS, "", ""))
        tap.equal(process.wait(10), 0)


if __name__ == "__main__":
    tap.main()
