#!/usr/bin/env python3
"""stop, cont, system_reset, system_powerdown, preconfig: run states, their events and their order."""

import random
import re
import time

import guests
import tap
from fixtures import (ACCELS, BINARY, IS_QEMU, SEABIOS, cpu_nanoseconds, debugcon_file,
                      halcyond_only, read_file, start, thread_state, vcpu_threads, wait_text)
from qmp_client import Daemon, QmpError


def status(client):
    return client.command("query-status")["status"]


def messages_of(client, command):
    """Sends a command, and gives all messages up to its reply, in their order, events by name."""
    client.send({"execute": command, "id": command})
    seen = []
    while True:
        message = client.receive()
        if message.get("id") == command:
            seen.append("return" if "return" in message else "error")
            return seen
        seen.append(message["event"])


@tap.test("a VM starts running", each=ACCELS)
def _(accel):
    _, client = start(accel, guests.spin())
    reply = client.command("query-status")
    tap.equal((reply["status"], reply["running"]), ("running", True), "query-status")


@tap.test("with -S it waits in prelaunch", each=ACCELS)
def _(accel):
    extra, path = debugcon_file()
    _, client = start(accel, guests.prints("x"), "-S", *extra)
    reply = client.command("query-status")
    tap.equal((reply["status"], reply["running"]), ("prelaunch", False), "query-status")
    time.sleep(0.05)
    tap.equal(read_file(path), b"", "what the guest printed")
    tap.equal(messages_of(client, "cont"), ["RESUME", "return"], "cont")
    tap.equal(status(client), "running", "status")
    wait_text(path, "x")


@tap.test("stop: STOP, then the reply; again: no event", each=ACCELS)
def _(accel):
    _, client = start(accel, guests.on_all_vcpus("pio"), "-smp", "4")
    tap.equal(messages_of(client, "stop"), ["STOP", "return"], "stop")
    reply = client.command("query-status")
    tap.equal((reply["status"], reply["running"]), ("paused", False), "query-status")
    tap.equal(messages_of(client, "stop"), ["return"], "stop again")


@tap.test("cont: RESUME, then the reply; again: no event", each=ACCELS)
def _(accel):
    _, client = start(accel, guests.on_all_vcpus("pio"), "-smp", "4")
    client.command("stop")
    client.take_event_names()
    tap.equal(messages_of(client, "cont"), ["RESUME", "return"], "cont")
    tap.equal(status(client), "running", "status")
    tap.equal(messages_of(client, "cont"), ["return"], "cont again")


@tap.test("stop before the first cont: still prelaunch, no event", each=ACCELS)
def _(accel):
    _, client = start(accel, guests.spin(), "-S")
    tap.equal(messages_of(client, "stop"), ["return"], "stop")
    tap.equal(status(client), "prelaunch", "status")


@tap.test("system_reset of a running VM: RESET, then the reply; it runs on", each=ACCELS)
def _(accel):
    extra, path = debugcon_file()
    _, client = start(accel, guests.prints("booted."), *extra)
    wait_text(path, "booted.")
    client.command("system_reset")
    event = client.events[-1]
    tap.equal(event["event"], "RESET", "event before the reply")
    tap.equal(event["data"], {"guest": False, "reason": "host-qmp-system-reset"}, "data of RESET")
    tap.equal(status(client), "running", "status")
    wait_text(path, "booted.booted.")


@tap.test("system_reset of a paused VM: RESET, then prelaunch; cont starts it anew", each=ACCELS)
def _(accel):
    extra, path = debugcon_file()
    _, client = start(accel, guests.prints("booted."), *extra)
    wait_text(path, "booted.")
    client.command("stop")
    client.take_event_names()
    tap.equal(messages_of(client, "system_reset"), ["RESET", "return"], "system_reset")
    tap.equal(status(client), "prelaunch", "status")
    time.sleep(0.05)
    tap.equal(read_file(path), b"booted.", "what the guest printed before cont")
    tap.equal(messages_of(client, "cont"), ["RESUME", "return"], "cont")
    wait_text(path, "booted.booted.")


@tap.test("system_reset before the first cont: RESET, still prelaunch", each=ACCELS)
def _(accel):
    _, client = start(accel, guests.spin(), "-S")
    tap.equal(messages_of(client, "system_reset"), ["RESET", "return"], "system_reset")
    tap.equal(status(client), "prelaunch", "status")


@tap.test("a hundred resets in a row", each=ACCELS)
def _(accel):
    extra, path = debugcon_file()
    _, client = start(accel, guests.on_all_vcpus("mix"), "-smp", "4", *extra)
    for _ in range(100):
        tap.equal(messages_of(client, "system_reset"), ["RESET", "return"], "system_reset")
    tap.equal(status(client), "running", "status")


@tap.test("reset starts all processors' start-up over again", each=ACCELS)
def _(accel):
    extra, path = debugcon_file()
    _, client = start(accel, guests.vcpu_roll_call(), "-smp", "4", *extra)
    tap.wait_until(lambda: sorted(read_file(path)) == sorted(b"Aabc"), "four letters")
    client.command("system_reset")
    # RAM keeps the counter's value over a reset, as on a PC: the next letters follow.
    tap.wait_until(lambda: len(read_file(path)) == 8, "four more letters")
    tap.equal(read_file(path).count(b"A"), 2, "letters of the boot processor")


@tap.test("after the reply to stop nothing moves", each=ACCELS)
def _(accel):
    extra, path = debugcon_file()
    vm, client = start(accel, guests.console_counter(), *extra)
    wait_text(path, "0123456789")
    for turn in range(25):
        client.command("stop")
        size = len(read_file(path))
        time.sleep(0.01)
        tap.equal(len(read_file(path)), size, f"bytes the guest printed, turn {turn}")
        client.command("cont")
        tap.wait_until(lambda: len(read_file(path)) > size, "more bytes after cont")
    client.command("quit")
    vm.expect_exit(0)
    text = read_file(path)
    wrong = next((place for place, byte in enumerate(text) if byte != 48 + place % 10), None)
    if wrong is not None:
        raise AssertionError(f"not every byte once and in order: at {wrong} of {len(text)}: "
                             f"{text[max(wrong - 20, 0):wrong + 20]}")


@tap.test("after the reply to stop the vCPU threads use no CPU", each=ACCELS)
def _(accel):
    vm, client = start(accel, guests.on_all_vcpus("spin"), "-smp", "4")
    time.sleep(0.02)
    for turn in range(10):
        client.command("stop")
        threads = vcpu_threads(vm.pid)
        tap.equal(len(threads) > 0, True, "there are vCPU threads")
        # A thread that has said it stopped may still be on its way to sleep.
        tap.wait_until(lambda: all(thread_state(vm.pid, t) == "S" for t in threads), "asleep", 1.0)
        used = [cpu_nanoseconds(vm.pid, thread) for thread in threads]
        time.sleep(0.02)
        more = sum(cpu_nanoseconds(vm.pid, thread) for thread in threads) - sum(used)
        # Waking up for a moment is not running: four spinning vCPUs would use 20 ms and more.
        tap.equal(more < 500_000, True, f"{more} ns of CPU time used by vCPU threads, turn {turn}")
        client.command("cont")


@tap.test("stop and cont in one write, 200 times", each=ACCELS)
def _(accel):
    _, client = start(accel, guests.on_all_vcpus("mix"), "-smp", "4")
    client.send_raw(b'{"execute": "stop"} {"execute": "cont"} ' * 200)
    seen = []
    while seen.count("return") < 400:
        message = client.receive()
        seen.append(message["event"] if "event" in message else "return")
        tap.equal("error" in message, False, f"an error in {message}")
    tap.equal(seen, ["STOP", "return", "RESUME", "return"] * 200, "messages")


@tap.test("every negotiated monitor gets the events of another's commands", each=["soft"])
def _(accel):
    vm, first = start(accel, guests.spin(), monitors=3)
    others = [vm.connect(1), vm.connect(2)]
    for command in ("stop", "cont", "system_reset"):
        first.command(command)
    tap.equal(first.take_event_names(), ["STOP", "RESUME", "RESET"], "events")
    for other in others:
        tap.equal([other.receive()["event"] for _ in range(3)], ["STOP", "RESUME", "RESET"],
                  "events of another monitor")


@tap.test("events carry the host's wall clock", each=["soft"])
def _(accel):
    _, client = start(accel, guests.spin())
    before = time.time()
    client.command("stop")
    stamp = client.events[-1]["timestamp"]
    tap.equal(sorted(stamp), ["microseconds", "seconds"], "members of timestamp")
    tap.equal(0 <= stamp["microseconds"] <= 999999, True, "microseconds in range")
    moment = stamp["seconds"] + stamp["microseconds"] / 1e6
    tap.equal(before - 0.01 <= moment <= time.time() + 0.01, True, "the time is now")


@tap.test("--preconfig: prelaunch until x-exit-preconfig, which starts the guest", each=ACCELS)
def _(accel):
    extra, path = debugcon_file()
    _, client = start(accel, guests.prints("x"), "--preconfig", *extra)
    tap.equal(status(client), "prelaunch", "status")
    tap.equal(read_file(path), b"", "what the guest printed")
    tap.equal(messages_of(client, "x-exit-preconfig"), ["RESUME", "return"], "x-exit-preconfig")
    tap.equal(status(client), "running", "status")
    wait_text(path, "x")


@tap.test("--preconfig -S: x-exit-preconfig leads to prelaunch", each=ACCELS)
def _(accel):
    _, client = start(accel, guests.spin(), "--preconfig", "-S")
    tap.equal(messages_of(client, "x-exit-preconfig"), ["return"], "x-exit-preconfig")
    tap.equal(status(client), "prelaunch", "status")
    tap.equal(messages_of(client, "cont"), ["RESUME", "return"], "cont")


@tap.test("in preconfig most commands are refused", each=["stop", "cont", "system_reset",
                                                         "query-cpus-fast", "system_powerdown",
                                                         "chardev-add",
                                                         "device-list-properties"])
def _(command):
    _, client = start("soft", guests.spin(), "--preconfig")
    reply = client.execute(command)
    tap.equal(reply.get("error"), {
        "class": "GenericError",
        "desc": f"The command '{command}' is permitted only after machine initialization has "
                "completed"}, "reply")


@tap.test("x-exit-preconfig outside preconfig is an error")
def _():
    _, client = start("soft", guests.spin())
    reply = client.execute("x-exit-preconfig")
    tap.equal(reply.get("error"), {
        "class": "GenericError",
        "desc": "The command is permitted only before machine initialization"}, "reply")


@tap.test("system_powerdown: POWERDOWN, then the reply; a deaf guest runs on", each=ACCELS)
def _(accel):
    _, client = start(accel, guests.pio_hammer())
    tap.equal(messages_of(client, "system_powerdown"), ["POWERDOWN", "return"], "messages")
    tap.equal(status(client), "running", "status")


@tap.test("system_powerdown: a guest that listens powers off", each=ACCELS)
def _(accel):
    extra, path = debugcon_file()
    vm, client = start(accel, guests.powers_off_on_button(), *extra)
    wait_text(path, "B")
    client.command("system_powerdown")
    shutdown = client.wait_event("SHUTDOWN", 5)
    tap.equal(shutdown["data"], {"guest": True, "reason": "guest-shutdown"}, "data of SHUTDOWN")
    vm.expect_exit(0)


@tap.test("query-cpus-fast names real threads", each=ACCELS)
def _(accel):
    vm, client = start(accel, guests.on_all_vcpus("spin"), "-smp", "4")
    cpus = client.command("query-cpus-fast")
    tap.equal([cpu["cpu-index"] for cpu in cpus], [0, 1, 2, 3], "cpu-index")
    tap.equal({cpu["target"] for cpu in cpus}, {"x86_64"}, "target")
    threads = [cpu["thread-id"] for cpu in cpus]
    named = vm.daemon.threads()
    tap.diagnose(f"threads: {named}")
    tap.equal([thread in named for thread in threads], [True] * 4, "thread-id is a thread")
    if not (IS_QEMU and accel == "soft"):
        tap.equal(len(set(threads)), 4, "different threads")
    tap.equal(sorted(set(threads)), sorted(vcpu_threads(vm.pid)), "threads with a vCPU's name")
    if not IS_QEMU:
        tap.equal([re.sub(r"\D", "", named[thread]) for thread in threads], list("0123"),
                  "numbers in the threads' names")
    tap.equal(len({cpu["qom-path"] for cpu in cpus}), 4, "different paths")


@tap.test("the threads stay the same over stop, reset and cont", each=ACCELS)
def _(accel):
    _, client = start(accel, guests.on_all_vcpus("spin"), "-smp", "2")
    before = [cpu["thread-id"] for cpu in client.command("query-cpus-fast")]
    for command in ("stop", "system_reset", "cont"):
        client.command(command)
    after = [cpu["thread-id"] for cpu in client.command("query-cpus-fast")]
    tap.equal(after, before, "thread ids")


@tap.test("kicks are counted, and none had to be repeated", each=ACCELS)
def _(accel):
    halcyond_only()
    _, client = start(accel, guests.on_all_vcpus("pio"), "-smp", "4")
    for _ in range(10):
        client.command("stop")
        client.command("cont")
    stats = client.command("__org.halcyon_query-vcpu-stats")
    tap.equal([vcpu["cpu-index"] for vcpu in stats], [0, 1, 2, 3], "cpu-index")
    tap.equal([vcpu["kicks"] >= 10 for vcpu in stats], [True] * 4, f"ten kicks each: {stats}")
    tap.equal([vcpu["rekicks"] for vcpu in stats], [0] * 4, "re-kicks")
    tap.equal({vcpu["state"] for vcpu in stats}, {"running"}, "states")
    tap.equal([vcpu["kick-mechanism"] != "" for vcpu in stats], [True] * 4, "kick mechanism")
    threads = [cpu["thread-id"] for cpu in client.command("query-cpus-fast")]
    tap.equal([vcpu["thread-id"] for vcpu in stats], threads, "thread ids")


@tap.test("inject-nmi is taken", each=ACCELS)
def _(accel):
    _, client = start(accel, guests.halt_loop())
    reply = client.execute("inject-nmi")
    tap.equal(reply.get("return", reply), {}, "reply")


@tap.test("a guest that sets its clock: RTC_CHANGE, once in a second", each=ACCELS)
def _(accel):
    extra, path = debugcon_file()
    year = time.gmtime().tm_year
    _, client = start(accel, guests.sets_clock(year + 2), "-S", *extra)
    client.command("cont")
    started = time.monotonic()
    first = client.wait_event("RTC_CHANGE", 5)["data"]
    wait_text(path, "C")
    days = round(first["offset"] / 86400)
    tap.equal(days in (730, 731), True, f"two years, in days: {days}")
    tap.equal(first["qom-path"].startswith("/machine/"), True, "qom-path")
    client.wait_event("RTC_CHANGE", 5)
    waited = time.monotonic() - started
    tap.equal(0.9 <= waited, True, f"the second one after {waited} s")
    tap.equal([event["event"] for event in client.events].count("RTC_CHANGE"), 0, "no more")


@tap.test("rtc-reset-reinjection succeeds", each=["soft"])
def _(accel):
    _, client = start(accel, guests.spin(), "-S")
    tap.equal(client.command("rtc-reset-reinjection"), {}, "reply")


@tap.test("system_wakeup is refused: nothing can be suspended")
def _():
    _, client = start("soft", guests.spin())
    reply = client.execute("system_wakeup")
    text = ("Unable to wake up: guest is not in suspended state" if IS_QEMU else
            "wake-up from suspend is not supported by this guest")
    tap.equal(reply.get("error"), {"class": "GenericError", "desc": text}, "reply")
    if not IS_QEMU:
        tap.equal(client.command("query-current-machine"), {"wakeup-suspend-support": False},
                  "query-current-machine")


@tap.test("inject-nmi of a machine without CPUs is QEMU's error")
def _():
    daemon = Daemon(BINARY, "-machine", "none", "-nodefaults", "-display", "none")
    tap.cleanup(daemon.kill)
    tap.equal(daemon.connect().execute("inject-nmi").get("error"),
              {"class": "GenericError",
               "desc": "this feature or command is not currently supported"}, "reply")


@tap.test("-machine none: running, stop and cont as always, no CPUs")
def _():
    daemon = Daemon(BINARY, "-machine", "none", "-nodefaults", "-display", "none")
    tap.cleanup(daemon.kill)
    client = daemon.connect()
    tap.equal(status(client), "running", "status")
    tap.equal(messages_of(client, "stop"), ["STOP", "return"], "stop")
    tap.equal(status(client), "paused", "status")
    tap.equal(messages_of(client, "cont"), ["RESUME", "return"], "cont")
    tap.equal(client.command("query-cpus-fast"), [], "vCPUs")


@tap.test("stopping 64 vCPUs takes the time of the slowest, not the sum", each=["kvm"])
def _(accel):
    halcyond_only()
    _, client = start(accel, guests.on_all_vcpus("hlt"), "-smp", "64")
    time.sleep(0.2)
    times = []
    for _ in range(10):
        started = time.monotonic()
        client.command("stop")
        times.append(time.monotonic() - started)
        client.command("cont")
    tap.diagnose("stop of 64 halted vCPUs, ms: " + ", ".join(f"{t * 1000:.2f}" for t in times))
    tap.equal(sorted(times)[5] < 0.064, True, "the median is below 1 ms a vCPU")


@tap.test("an unknown command leaves the run state alone", each=["soft"])
def _(accel):
    _, client = start(accel, guests.spin())
    try:
        client.command("halt-and-catch-fire")
    except QmpError as error:
        tap.equal(error.error_class, "CommandNotFound", "class")
    tap.equal(status(client), "running", "status")


def model_step(state, command):
    """The next state, and the messages a command brings, as QEMU does it."""
    if command == "stop":
        return ("paused", ["STOP", "return"]) if state == "running" else (state, ["return"])
    if command == "cont":
        return "running", ["return"] if state == "running" else ["RESUME", "return"]
    if command == "system_reset":
        return ("running" if state == "running" else "prelaunch"), ["RESET", "return"]
    return state, [state]  # query-status


WALKS = [(f"{accel}, {how}", (accel, how)) for accel in ACCELS for how in ("stepwise", "pipelined")]


@tap.test("a random walk over the states goes as the model says", each=WALKS, timeout=60)
def _(case):
    accel, how = case
    seed = random.SystemRandom().randrange(2**32)
    tap.diagnose(f"seed {seed}")
    chance = random.Random(seed)
    _, client = start(accel, guests.on_all_vcpus("mix"), "-smp", "3", "-S")
    commands = chance.choices(["stop", "cont", "system_reset", "query-status"], k=400)
    state, expected = "prelaunch", []
    for command in commands:
        state, messages = model_step(state, command)
        expected += messages
    requests = [b'{"execute": "%s"}' % command.encode() for command in commands]
    if how == "pipelined":
        client.send_raw(b"".join(requests))
        requests = []
    seen = []
    while len(seen) < len(expected):
        if requests and (not seen or seen[-1] not in ("STOP", "RESUME", "RESET")):
            client.send_raw(requests.pop(0))
        message = client.receive(20)
        seen.append(message.get("event") or
                    (message["return"].get("status", "return") if "return" in message
                     else message["error"]))
    tap.equal(seen, expected, "messages")


@tap.test("SeaBIOS is stopped and continued fifty times and boots all the same", each=ACCELS,
          timeout=60)
def _(accel):
    extra, path = debugcon_file()
    _, client = start(accel, SEABIOS, *extra)
    for _ in range(50):
        client.command("stop")
        time.sleep(0.002)
        client.command("cont")
        time.sleep(0.002)
    wait_text(path, "No bootable device", 40)


if __name__ == "__main__":
    tap.main()
