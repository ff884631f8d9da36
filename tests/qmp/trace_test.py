#!/usr/bin/env python3
"""Trace events: switched by name and pattern as in QEMU, and seen in the log."""

import os
import pathlib

import guests
import tap
from fixtures import ACCELS, IS_QEMU, debugcon_file, halcyond_only, start, temporary_directory
from fixtures import wait_text


def start_logged(accel="soft", image=None, *extra):
    """A VM that does not run yet, its client, and the path of its log."""
    path = os.path.join(temporary_directory(), "log")
    return start(accel, image or guests.spin(), "-S", "-D", path, *extra)[1], path


def lines(path):
    """The events in a log, each from its name on."""
    text = pathlib.Path(path).read_text("utf-8")
    return [line.partition("[info] ")[2] for line in text.splitlines() if "[info] " in line]


def states(client, name, **arguments):
    return {info["name"]: info["state"] for info in
            client.command("trace-event-get-state", name=name, **arguments)}


def switch(client, name, enable, **arguments):
    tap.equal(client.command("trace-event-set-state", name=name, enable=enable, **arguments), {},
              f"{name}: {enable}")


def error_of(client, command, **arguments):
    error = client.execute(command, arguments)["error"]
    return error["class"], error["desc"]


@tap.test("an event is off until it is switched on, and then until it is switched off")
def _():
    client = start_logged()[0]
    tap.equal(client.command("trace-event-get-state", name="runstate_set"),
              [{"name": "runstate_set", "state": "disabled", "vcpu": False}], "at first")
    switch(client, "runstate_set", True)
    tap.equal(states(client, "runstate_set"), {"runstate_set": "enabled"}, "on")
    switch(client, "runstate_set", False)
    tap.equal(states(client, "runstate_set"), {"runstate_set": "disabled"}, "off")


@tap.test("a name with a * is a pattern, one with a ? alone is not")
def _():
    client = start_logged()[0]
    for name in ("runstate_set*", "runstate_s*", "run?tate_s*", "*runstate_set", "r*n*e_set*",
                 "r?n*state_set", "**runstate_set**"):
        tap.equal(states(client, name).get("runstate_set"), "disabled", name)
    for name in ("nope*", "*nope", "runstate_set?*", "?runstate_set*", "RUNSTATE*"):
        tap.equal("runstate_set" in states(client, name), False, name)
    tap.equal(len(states(client, "*")) >= 10, True, "all")
    tap.equal(error_of(client, "trace-event-get-state", name="runstate?set"),
              ("GenericError", 'unknown event "runstate?set"'), "?")
    switch(client, "nope*", True)
    switch(client, "runstate_*t", True)
    tap.equal(states(client, "runstate_set"), {"runstate_set": "enabled"}, "by pattern")


@tap.test("what is not there is refused in QEMU's words")
def _():
    client = start_logged()[0]
    for arguments, text in (
            ({"name": "nope"}, 'unknown event "nope"'),
            ({"name": ""}, 'unknown event ""'),
            ({"name": "nope", "vcpu": 9}, "invalid vCPU index 9"),
            ({"name": "runstate_set", "vcpu": -1}, "invalid vCPU index 4294967295"),
            ({"name": "runstate_set", "vcpu": 0},
             'event "runstate_set" is not vCPU-specific')):
        tap.equal(error_of(client, "trace-event-get-state", **arguments), ("GenericError", text),
                  f"get {arguments}")
        tap.equal(error_of(client, "trace-event-set-state", enable=True, **arguments),
                  ("GenericError", text), f"set {arguments}")
    tap.equal(error_of(client, "trace-event-set-state",
                       **{"name": "nope", "enable": True, "ignore-unavailable": True}),
              ("GenericError", 'unknown event "nope"'), "ignore-unavailable")
    tap.equal(states(client, "runstate_s*", vcpu=0), {}, "a pattern, of one vCPU")
    switch(client, "runstate_s*", True, vcpu=0)
    tap.equal(states(client, "runstate_set"), {"runstate_set": "disabled"}, "state")


@tap.test("the human monitor switches and lists them")
def _():
    client = start_logged()[0]

    def hmp(line):
        return client.command("human-monitor-command", command_line=line)

    tap.equal(hmp("trace-event runstate_s* on"), "", "on")
    tap.equal(hmp("info trace-events runstate_set"), "runstate_set : state 1\r\n", "info")
    tap.equal(hmp("trace-event runstate_set off"), "", "off")
    tap.equal("runstate_set : state 0" in hmp("info trace-events").split("\r\n"), True, "all")
    more = '\r\nTry "help trace-event" for more information\r\n'
    for line, text in (("trace-event", "trace-event: string expected" + more),
                       ("trace-event runstate_set", "Expected 'on' or 'off'" + more),
                       ("trace-event runstate_set maybe", "Expected 'on' or 'off'" + more),
                       ("trace-event runstate_set on x",
                        "invalid char 'x' in expression" + more),
                       ("trace-event runstate_set on 0 1",
                        "trace-event: extraneous characters at the end of line" + more),
                       ("trace-event nope on", 'unknown event "nope"\r\n'),
                       ("trace-event runstate_set on 0",
                        'event "runstate_set" is not vCPU-specific\r\n'),
                       ("info trace-events nope", 'unknown event "nope"\r\n'),
                       ("info trace-events nope*", ""),
                       ("info trace-events runstate_set 9", "invalid vCPU index 9\r\n")):
        tap.equal(hmp(line), text, line)


@tap.test("nothing is logged that was not asked for")
def _():
    halcyond_only()
    client, path = start_logged()
    client.command("cont")
    client.command("stop")
    tap.equal(lines(path), [], "log")


@tap.test("changes of the run state are logged while that is switched on")
def _():
    halcyond_only()
    client, path = start_logged()
    client.command("cont")
    switch(client, "runstate_set", True)
    client.command("stop")
    client.command("cont")
    switch(client, "runstate_set", False)
    client.command("stop")
    tap.equal(lines(path), ["runstate_set current_run_state running new_state paused",
                            "runstate_set current_run_state paused new_state running"], "log")


@tap.test("port accesses are logged with their values", each=ACCELS)
def _(accel):
    halcyond_only()
    console, output = debugcon_file()
    # Writes to a port of nobody, then tells that it has.
    code = guests.Code(guests.ENTRY).out_imm(0xE8, 0x5A).raw("E4E8").print("K").halt()
    client, path = start_logged(accel, guests.image(code.finish()), *console)
    switch(client, "pio_*", True)
    client.command("cont")
    wait_text(output, "K")
    tap.wait_until(lambda: len(lines(path)) >= 3, "three accesses")
    tap.equal(lines(path)[:3], ["pio_write vcpu 0 address 0xe8 size 1 value 0x5a",
                                "pio_read vcpu 0 address 0xe8 size 1 value 0xff",
                                "pio_write vcpu 0 address 0x402 size 1 value 0x4b"], "log")


@tap.test("a vCPU's way into the hypervisor and out of it is logged", each=ACCELS)
def _(accel):
    halcyond_only()
    client, path = start_logged(accel)
    switch(client, "vcpu_*", True)
    client.command("cont")
    client.command("stop")
    switch(client, "vcpu_*", False)
    found = lines(path)
    for line in ("vcpu_kick vcpu 0 state running", "vcpu_run vcpu 0", "vcpu_stop vcpu 0 kicked"):
        tap.equal(line in found, True, f"{line} in {found}")


@tap.test("what the guest asks for is logged")
def _():
    halcyond_only()
    client, path = start_logged("soft", guests.resets("port92"))
    switch(client, "guest_power_request", True)
    client.command("cont")
    client.wait_event("RESET", 5)
    tap.equal(lines(path)[0], "guest_power_request reset", "log")


@tap.test("a client's messages are logged, quoted and bounded")
def _():
    halcyond_only()
    client, path = start_logged()
    switch(client, "monitor_*", True)
    client.send({"execute": "query-status", "id": "\u00e9\n"})
    client.receive()
    client.command("query-qmp-schema")
    client.command("cont")
    found = lines(path)
    received = [line for line in found if line.startswith("monitor_receive ")]
    tap.equal(any("query-status" in line for line in received), True, f"{received}")
    sent = [line for line in found if line.startswith("monitor_send ")]
    tap.equal(any("\\\\u00e9\\\\n" in line.lower() for line in sent), True, f"escaped: {sent}")
    tap.equal(max(map(len, found)) < 4096 and any(line.endswith('"...') for line in sent), True,
              "bounded")
    tap.equal("monitor_protocol_event_emit RESUME" in found, True, "event")
    tap.equal(all(line.isascii() and line.isprintable() for line in found), True, "ASCII")


if __name__ == "__main__":
    tap.main()
