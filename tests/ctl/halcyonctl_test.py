#!/usr/bin/env python3
"""halcyonctl with the real daemon: each command, each fault of its user, each exit status."""

import json
import os
import select
import socket

import ctl  # also says where the other modules are
import tap
from ctl import NO_CONNECTION, SERVER_ERROR, SUCCESS, TIMEOUT, USAGE, Machine, guests
from fixtures import debugcon_file, listening_socket, wait_text


def fault(result, status, *texts):
    """Checks a fault: its status, no output, one line of errors with the texts."""
    tap.equal(result[:2], (status, ""), f"status and output ({result[2]!r})")
    one_line(result[2], *texts)


def one_line(errors, *texts):
    tap.equal(errors.count("\n"), 1, f"lines of {errors!r}")
    tap.equal(errors.startswith("halcyonctl: "), True, errors)
    for text in texts:
        tap.equal(text in errors, True, f"{text!r} in {errors!r}")


@tap.test("status prints the run state in a word")
def _():
    vm = Machine()
    tap.equal(vm.output("status"), "running\n")
    vm.output("stop")
    tap.equal(vm.output("status"), "paused\n")


@tap.test("status --json prints the whole answer")
def _():
    tap.equal(json.loads(Machine("-S").output("status", "--json")),
              {"running": False, "singlestep": False, "status": "prelaunch"})


@tap.test("stop and cont pause the guest and let it run, and print nothing")
def _():
    vm = Machine()
    tap.equal((vm.output("stop"), vm.output("status")), ("", "paused\n"))
    tap.equal((vm.output("cont"), vm.output("status")), ("", "running\n"))


@tap.test("reset resets the machine")
def _():
    tap.equal(" RESET guest=false reason=host-qmp-system-reset\n" in
              Machine().output("reset", "--wait", "RESET"), True)


@tap.test("powerdown presses the power button")
def _():
    vm = Machine(image=guests.powers_off_on_button())
    text = vm.output("powerdown", "--wait", "POWERDOWN")
    tap.equal(text.endswith(" POWERDOWN\n"), True, text)


@tap.test("quit ends the machine")
def _():
    vm = Machine()
    tap.equal(vm.output("quit"), "")
    tap.equal(vm.gone(), 0, "exit status of the machine")


@tap.test("info tells what the machine is")
def _():
    lines = dict(line.split(":", 1) for line in
                 Machine("-smp", "2", "-uuid", "6f9619ff-8b86-4d01-b42d-00cf4fc964ff")
                 .output("info").splitlines())
    tap.equal({name: value.strip() for name, value in lines.items() if name != "server"},
              {"name": "web", "UUID": "6f9619ff-8b86-4d01-b42d-00cf4fc964ff", "state": "running",
               "vCPUs": "2", "memory": "16 MiB", "accelerator": "soft"})
    tap.equal("halcyon-" in lines["server"], True, lines["server"])


@tap.test("info --json has the answers by their queries' names")
def _():
    info = json.loads(Machine().output("info", "--json"))
    tap.equal((info["query-name"], info["query-status"]["status"]), ({"name": "web"}, "running"))


def follow(*words):
    """A machine, `halcyonctl web events WORDS` that has printed an event, and a client of another
    monitor."""
    second = os.path.join(ctl.temporary_directory(), "second.sock")
    vm = Machine("-qmp", f"unix:{second},server=on,wait=off")
    other = ctl.QmpClient.connect_when_listening(second).negotiate()
    tap.cleanup(other.close)
    follower = vm.start("events", *words)

    def printed():
        other.command("stop")
        other.command("cont")
        return select.select([follower.stdout], [], [], 0.02)[0]

    tap.wait_until(printed, "an event is printed", 10)
    return vm, follower, other


@tap.test("events are printed as they come, until the machine ends")
def _():
    vm, follower, other = follow()
    other.command("quit")
    output, errors = follower.communicate(timeout=10)
    tap.equal((follower.returncode, errors), (SUCCESS, ""))
    tap.equal(output.endswith(" SHUTDOWN guest=false reason=host-qmp-quit\n"), True, output)
    tap.equal(vm.gone(), 0, "exit status of the machine")


@tap.test("events --json are printed in JSON, a line each")
def _():
    _, follower, other = follow("--json")
    other.command("quit")
    output, _ = follower.communicate(timeout=10)
    events = [json.loads(line) for line in output.splitlines()]
    tap.equal(events[-1]["data"], {"guest": False, "reason": "host-qmp-quit"})
    # It may have begun to listen between a stop and its cont.
    tap.equal({event["event"] for event in events} - {"STOP"}, {"RESUME", "SHUTDOWN"})


@tap.test("events --wait ends when the event has come")
def _():
    _, follower, other = follow("--wait", "RESET")
    other.command("system_reset")
    output, errors = follower.communicate(timeout=10)
    tap.equal((follower.returncode, errors), (SUCCESS, ""))
    tap.equal(output.splitlines()[-1].split()[2], "RESET", "the last event")


@tap.test("events with --timeout end with 4")
def _():
    fault(Machine().run("events", "--timeout", "0.1"), TIMEOUT, "the time is over")


@tap.test("--wait counts an event that comes before the answer")
def _():
    tap.equal(Machine().output("stop", "--wait", "STOP").endswith(" STOP\n"), True)


@tap.test("--wait alone waits, and is 4 when nothing comes")
def _():
    fault(Machine().run("--wait", "RESET", "-t", "0.1"), TIMEOUT, "RESET did not come in time")


@tap.test("--wait fails with 3 when the machine ends before")
def _():
    fault(Machine().run("quit", "--wait", "RESET"), NO_CONNECTION, "closed", "RESET")


@tap.test("--wait refuses an event that the server does not know, before anything is done")
def _():
    vm = Machine()
    fault(vm.run("stop", "--wait", "STPO"), USAGE, "STPO", "SHUTDOWN")
    tap.equal(vm.output("status"), "running\n")


@tap.test("any command of QMP, with typed arguments")
def _():
    vm = Machine()
    vm.output("chardev-add", "id=log", "backend.data.size=4096", "backend.type=ringbuf")
    vm.output("ringbuf-write", "device=log", "data=one two")
    tap.equal(vm.output("ringbuf-read", "device=log", "size=0x100", "format=utf8"), "one two\n")


@tap.test("arguments in JSON")
def _():
    vm = Machine()
    vm.output("chardev-add", '{"id": "log", "backend": {"type": "null", "data": {}}}')
    vm.output("chardev-add", "id=more", 'backend={"type": "null", "data": {}}')
    labels = [entry["label"] for entry in json.loads(vm.output("query-chardev", "--json"))]
    tap.equal({"log", "more"} <= set(labels), True, labels)


@tap.test("what a guest wrote cannot drive the terminal")
def _():
    vm = Machine("-chardev", "ringbuf,id=log")
    vm.output("ringbuf-write", "device=log", "data=\x1b[31m")
    tap.equal(vm.output("ringbuf-read", "device=log", "size=99"), "\\x1b[31m\n")


@tap.test("an error of the server is 1, in one line")
def _():
    fault(Machine().run("chardev-remove", "id=none"), SERVER_ERROR,
          "chardev-remove: Chardev 'none' not found")


@tap.test("an error of the server with --json")
def _():
    status, output, errors = Machine().run("--json", "chardev-remove", "id=none")
    tap.equal((status, json.loads(output)),
              (SERVER_ERROR,
               {"error": {"class": "GenericError", "desc": "Chardev 'none' not found"}}))
    one_line(errors)


WRONG_FOR_SERVER = [
    ("an unknown command", ["stpo"], ["there is no command 'stpo'", "'stop'"]),
    ("an unknown argument", ["ringbuf-read", "devise=x", "size=1"], ["'devise'", "'device'"]),
    ("a missing argument", ["ringbuf-read", "device=x"], ["'size' is missing", "integer"]),
    ("an argument of a wrong type", ["ringbuf-read", "device=x", "size=big"], ["'big'", "integer"]),
    ("a wrong value", ["ringbuf-read", "device=x", "size=1", "format=utf9"], ["utf8, base64"]),
    ("no KEY=VALUE", ["ringbuf-read", "x"], ["'x' is not KEY=VALUE"]),
    ("an argument of status", ["status", "x=1"], ["status takes no arguments"]),
    ("an argument of shell", ["shell", "x=1"], ["shell takes no arguments"]),
]


@tap.test("what the schema does not have is 2", each=[(row[0], row) for row in WRONG_FOR_SERVER])
def _(row):
    fault(Machine("-S").run(*row[1]), USAGE, *row[2])


WRONG = [
    ("nothing", [], "which machine?"),
    ("no command", ["web"], "which command?"),
    ("an unknown option", ["--colour", "web"], "no option --colour"),
    ("an unknown letter", ["-x", "web"], "no option -x"),
    ("a missing value", ["web", "status", "-t"], "-t needs a value"),
    ("a value too many", ["--json=1", "web"], "--json takes no value"),
    ("no number", ["-t", "soon", "web", "status"], "'soon' is no time"),
    ("a negative time", ["--timeout=-1", "web", "status"], "'-1' is no time"),
    ("a path for a name", ["/tmp/x", "status"], "-s SOCKET"),
    ("a path that is too long", ["-s", "/" * 200, "status"], "cannot be a socket's path"),
    ("an empty path", ["-s", "", "status"], "cannot be a socket's path"),
    ("an empty name", ["", "status"], "cannot be a machine's name"),
]


@tap.test("wrong usage is 2", each=[(row[0], row) for row in WRONG])
def _(row):
    fault(ctl.run(*row[1]), USAGE, row[2])


@tap.test("a wrong HALCYON_STOP_TIMEOUT is 2")
def _():
    fault(ctl.run("web", "status", environment={"HALCYON_STOP_TIMEOUT": "long"}), USAGE,
          "HALCYON_STOP_TIMEOUT")


@tap.test("nobody listening is 3")
def _():
    fault(ctl.run("-s", "/nonexistent/socket", "status"), NO_CONNECTION, "/nonexistent/socket",
          "No such file")


@tap.test("a socket whose server has gone is 3")
def _():
    path = os.path.join(ctl.temporary_directory(), "stale.sock")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    fault(ctl.run("-s", path, "status"), NO_CONNECTION, "Connection refused")


@tap.test("a monitor that serves another client is 4, with the likely reason")
def _():
    vm = Machine()
    with ctl.QmpClient.connect(vm.socket) as other:
        other.expect_greeting()
        fault(vm.run("status", "-t", "0.2"), TIMEOUT, "another client")
    tap.equal(vm.output("status"), "running\n")


@tap.test("short commands have a monitor of their own, others the common one")
def _():
    directory = ctl.temporary_directory()
    own = os.path.join(directory, "own.sock")
    vm = Machine("-qmp", f"unix:{own},server=on,wait=off")
    ctl.QmpClient.connect_when_listening(own).close()
    for directory in ("halcyonctl", "halcyon/web"):
        os.mkdir(os.path.join(vm.directory, directory))
    os.symlink(own, os.path.join(vm.directory, "halcyonctl", "web.sock"))
    with ctl.QmpClient.connect(vm.socket) as other:
        other.expect_greeting()
        tap.equal(vm.output("status"), "running\n")
        for words in (["events"], ["shell"], ["status", "--wait", "STOP"]):
            fault(vm.run(*words, "-t", "0.1"), TIMEOUT, vm.socket)


@tap.test("to ask for the status of a unit that is off, or to complete, does not start it",
          each=["status", "info", "--complete sta", "--list-commands"])
def _(words):
    directory = ctl.temporary_directory()
    listeners = []
    for name in ("halcyon", "halcyonctl"):
        os.mkdir(os.path.join(directory, name))
        listeners.append(listening_socket(os.path.join(directory, name, "web.sock")))
    code, output, errors = ctl.run("web", *words.split(),
                                   environment={"HALCYON_RUNTIME_DIR": directory})
    if words.startswith("--"):
        tap.equal((code, errors, "status" in output), (SUCCESS, "", True), output)
    else:
        tap.equal(code, NO_CONNECTION, errors)
        one_line(errors, "web is not running")
    tap.equal(select.select(listeners, [], [], 0)[0], [], "connections")


@tap.test("an abstract socket")
def _():
    name = f"halcyonctl-test-{os.getpid()}"
    vm = Machine("-chardev", f"socket,id=more,path={name},abstract=on,server=on,wait=off", "-mon",
                 "more,mode=control")
    tap.equal(ctl.run("-s", "@" + name, "status"), (SUCCESS, "running\n", ""))
    tap.equal(vm.output("status"), "running\n")


@tap.test("--help and --version", each=["--help", "-h", "--version", "-V"])
def _(option):
    status, output, errors = ctl.run(option)
    tap.equal((status, errors), (SUCCESS, ""))
    tap.equal("halcyonctl" in output, True, output)


@tap.test("standard output that cannot be written is 3")
def _():
    with open("/dev/full", "wb") as full:
        status, _, errors = ctl.run("--help", stdout=full)
    tap.equal(status, NO_CONNECTION)
    one_line(errors, "standard output", "No space left")


@tap.test("--list-commands has the server's commands and ours")
def _():
    names = Machine("-S").output("--list-commands").split()
    tap.equal({"stop", "stop-service", "query-name", "shell"} <= set(names), True, names)
    tap.equal(names, sorted(names))


@tap.test("--complete completes an argument")
def _():
    vm = Machine("-S")
    tap.equal(vm.output("--complete", "chardev-add", "backend.type=r"), "backend.type=ringbuf\n")


def listening_guest(*options):
    """A machine whose guest has enabled its power button: a press before that is lost."""
    console, path = debugcon_file()
    vm = Machine(*console, *options, image=guests.powers_off_on_button())
    wait_text(path, "B")
    return vm


@tap.test("stop-service: a guest that powers off is asked, and not ended")
def _():
    vm = listening_guest()
    tap.equal(vm.output("stop-service", "--grace", "60"), "")
    tap.equal(vm.gone(), 0, "exit status of the machine")


@tap.test("stop-service: a guest that does not listen is ended when its time is over")
def _():
    vm = Machine()
    status, output, errors = vm.run("stop-service", "--grace", "0.3")
    tap.equal((status, output), (SUCCESS, ""))
    one_line(errors, "did not power off in time")
    tap.equal(vm.gone(), 0, "exit status of the machine")


@tap.test("stop-service: the time can be in the environment")
def _():
    vm = Machine()
    status, _, errors = ctl.run("web", "stop-service", environment={
        "HALCYON_RUNTIME_DIR": vm.directory, "HALCYON_STOP_TIMEOUT": "0.3"})
    tap.equal(status, SUCCESS, errors)
    tap.equal(vm.gone(), 0, "exit status of the machine")


@tap.test("stop-service: a machine that does not run is ended at once")
def _():
    vm = Machine("-S")
    status, _, errors = vm.run("stop-service")
    tap.equal(status, SUCCESS)
    one_line(errors, "does not run")
    tap.equal(vm.gone(), 0, "exit status of the machine")


@tap.test("stop-service: a machine that stays after its guest's power-off is ended")
def _():
    vm = listening_guest("-no-shutdown")
    tap.equal(vm.output("stop-service", "--grace", "60"), "")
    tap.equal(vm.gone(), 0, "exit status of the machine")


@tap.test("stop-service: nothing is done for a machine that systemd says has ended")
def _():
    vm = Machine()
    tap.equal(ctl.run("web", "stop-service", environment={
        "HALCYON_RUNTIME_DIR": vm.directory, "SERVICE_RESULT": "success"}), (SUCCESS, "", ""))
    tap.equal(vm.output("status"), "running\n")


@tap.test("stop-service: as systemd calls it for a machine that runs")
def _():
    vm = Machine("-S")
    status, _, _ = ctl.run("web", "stop-service", environment={
        "HALCYON_RUNTIME_DIR": vm.directory, "SERVICE_RESULT": "success",
        "MAINPID": str(vm.process.pid)})
    tap.equal((status, vm.gone()), (SUCCESS, 0), "exit statuses")


@tap.test("stop-service: nobody listening is 3")
def _():
    fault(ctl.run("-s", "/nonexistent/socket", "stop-service"), NO_CONNECTION)


if __name__ == "__main__":
    tap.main()
