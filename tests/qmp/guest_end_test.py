#!/usr/bin/env python3
"""What the guest itself does to its machine: power-off, resets of all kinds, triple fault."""

import time

import guests
import tap
from fixtures import ACCELS, debugcon_file, read_file, start, wait_text

RESETS = [(f"{accel}, {how}", (accel, how)) for accel in ACCELS
          for how in ("port92", "cf9", "i8042", "triple-fault")]


def start_held(accel, image, *extra):
    """A VM that waits for cont, so that no event can be missed; and its debug console's file."""
    options, path = debugcon_file()
    vm, client = start(accel, image, "-S", *options, *extra)
    client.command("cont")
    return vm, client, path


def expect_shutdown(client, reason):
    event = client.wait_event("SHUTDOWN", 10)
    tap.equal(event["data"], {"guest": True, "reason": reason}, "data of SHUTDOWN")


@tap.test("power-off: SHUTDOWN, the end of the stream, exit status 0", each=ACCELS)
def _(accel):
    vm, client, path = start_held(accel, guests.powers_off(), "-smp", "2")
    expect_shutdown(client, "guest-shutdown")
    tap.equal(client.receive_until_closed(5), [], "messages after SHUTDOWN")
    vm.expect_exit(0)
    tap.equal(read_file(path), b"S", "what the guest printed")


@tap.test("power-off with -no-shutdown: SHUTDOWN, STOP, status shutdown", each=ACCELS)
def _(accel):
    vm, client, _ = start_held(accel, guests.powers_off(), "-no-shutdown")
    expect_shutdown(client, "guest-shutdown")
    client.wait_event("STOP", 5)
    reply = client.command("query-status")
    tap.equal((reply["status"], reply["running"]), ("shutdown", False), "query-status")
    tap.equal(vm.alive(), True, "the process lives")


@tap.test("in shutdown, cont is refused and only a reset leads out", each=ACCELS)
def _(accel):
    _, client, path = start_held(accel, guests.powers_off(), "-no-shutdown")
    client.wait_event("STOP", 10)
    reply = client.execute("cont")
    tap.equal(reply.get("error"), {"class": "GenericError",
                                   "desc": "Resetting the Virtual Machine is required"}, "cont")
    client.take_event_names()
    client.command("system_reset")
    tap.equal(client.take_event_names(), ["RESET"], "events of system_reset")
    tap.equal(client.command("query-status")["status"], "prelaunch", "status")
    client.command("cont")
    expect_shutdown(client, "guest-shutdown")
    wait_text(path, "SS")


@tap.test("in shutdown, quit ends the process", each=ACCELS)
def _(accel):
    vm, client, _ = start_held(accel, guests.powers_off(), "-no-shutdown")
    client.wait_event("STOP", 10)
    tap.equal(client.command("quit"), {}, "reply")
    tap.equal(client.take_event_names()[-1], "SHUTDOWN", "last event")
    vm.expect_exit(0)


@tap.test("with -no-shutdown, a host's quit still ends the process", each=ACCELS)
def _(accel):
    vm, client, _ = start_held(accel, guests.pio_hammer(), "-no-shutdown", "-no-reboot")
    client.command("quit")
    vm.expect_exit(0)


@tap.test("a guest's reset: RESET with guest-reset, and it runs on", each=RESETS)
def _(case):
    accel, how = case
    vm, client, path = start_held(accel, guests.resets(how))
    for _ in range(3):
        event = client.wait_event("RESET", 10)
        tap.equal(event["data"], {"guest": True, "reason": "guest-reset"}, "data of RESET")
    wait_text(path, "RRR")
    tap.equal(client.command("query-status")["status"], "running", "status")
    client.command("quit", timeout=5)
    vm.expect_exit(0)


@tap.test("a guest's reset with -no-reboot: SHUTDOWN with guest-reset, exit status 0", each=RESETS)
def _(case):
    accel, how = case
    vm, client, path = start_held(accel, guests.resets(how), "-no-reboot")
    expect_shutdown(client, "guest-reset")
    tap.equal(client.receive_until_closed(5), [], "messages after SHUTDOWN")
    vm.expect_exit(0)
    tap.equal(read_file(path), b"R", "what the guest printed")


@tap.test("a guest's reset with -no-reboot -no-shutdown: SHUTDOWN, STOP, shutdown", each=ACCELS)
def _(accel):
    _, client, _ = start_held(accel, guests.resets("port92"), "-no-reboot", "-no-shutdown")
    expect_shutdown(client, "guest-reset")
    client.wait_event("STOP", 5)
    tap.equal(client.command("query-status")["status"], "shutdown", "status")


@tap.test("a guest that resets for ever can be stopped", each=ACCELS)
def _(accel):
    _, client, path = start_held(accel, guests.resets("port92"))
    client.wait_event("RESET", 10)
    client.command("stop", timeout=5)
    status = client.command("query-status")["status"]
    # A reset that was under way when the stop came ends in prelaunch, as a reset while paused does.
    tap.equal(status in ("paused", "prelaunch"), True, f"status {status}")
    time.sleep(0.05)  # That reset may still be told.
    size = len(read_file(path))
    client.command("query-version")
    client.take_event_names()
    time.sleep(0.05)
    client.command("query-version")
    tap.equal((len(read_file(path)), client.take_event_names()), (size, []), "nothing moves")


@tap.test("host and guest resets at once", each=ACCELS)
def _(accel):
    vm, client, _ = start_held(accel, guests.resets("cf9"), "-smp", "2")
    for _ in range(20):
        client.command("system_reset", timeout=5)
    client.command("quit", timeout=5)
    vm.expect_exit(0)


@tap.test("set-action changes what a reset and a power-off do", each=ACCELS)
def _(accel):
    options, _ = debugcon_file()
    vm, client = start(accel, guests.resets("port92"), "-S", *options)
    client.command("set-action", reboot="shutdown", shutdown="pause")
    client.command("cont")
    expect_shutdown(client, "guest-reset")
    client.wait_event("STOP", 5)
    client.command("set-action", reboot="reset")
    client.command("system_reset")
    client.take_event_names()
    client.command("cont")
    client.wait_event("RESET", 5)
    client.send({"execute": "set-action",
                 "arguments": {"reboot": "shutdown", "shutdown": "poweroff"}})
    last = client.receive_until_closed(10)[-1]
    tap.equal((last["event"], last["data"]["reason"]), ("SHUTDOWN", "guest-reset"), "last event")
    vm.expect_exit(0)


@tap.test("set-action takes actions of devices that are not there, and those beside them", each=ACCELS)
def _(accel):
    options, _ = debugcon_file()
    _, client = start(accel, guests.resets("port92"), "-S", *options)
    for panic in ("pause", "shutdown", "exit-failure", "none"):
        tap.equal(client.command("set-action", panic=panic), {}, panic)
    for watchdog in ("reset", "shutdown", "poweroff", "pause", "debug", "none", "inject-nmi"):
        tap.equal(client.command("set-action", watchdog=watchdog), {}, watchdog)
    tap.equal(client.command("set-action", panic="none", watchdog="none", reboot="shutdown",
                             shutdown="pause"), {}, "all four")
    client.command("cont")
    expect_shutdown(client, "guest-reset")
    client.wait_event("STOP", 5)


@tap.test("with -no-reboot, system_reset ends the VM too", each=ACCELS)
def _(accel):
    vm, client, _ = start_held(accel, guests.pio_hammer(), "-no-reboot")
    client.send({"execute": "system_reset"})
    messages = client.receive_until_closed(10)
    events = [(m["event"], m["data"]) for m in messages if "event" in m]
    tap.equal(events[-1], ("SHUTDOWN", {"guest": False, "reason": "host-qmp-system-reset"}),
              "last event")
    vm.expect_exit(0)


@tap.test("RAM keeps its contents over a guest's reset", each=ACCELS)
def _(accel):
    _, client, path = start_held(accel, guests.counts_resets())
    wait_text(path, "01234")
    client.command("quit")


if __name__ == "__main__":
    tap.main()
