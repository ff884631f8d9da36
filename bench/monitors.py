"""What monitors cost when there are many, when replies are long and when a command is slow; all beside QEMU."""

import os
import pathlib
import resource
import subprocess
import tempfile
import time

from harness import QmpClient, RunningVm, Skipped, in_turns, median_of

AUDIENCE = 100
IDLE_MONITORS = 1000
QEMU_IDLE_MONITORS = 300  # to serve twice as many takes it six times as long


class ManyMonitors:
    """A process without a machine and with `count` monitors, at `prefix` + their number."""

    def __init__(self, bench, program, count):
        self.prefix = tempfile.mkdtemp(dir=bench.directory) + "/"
        sockets = [word for number in range(count) for word in
                   ("-qmp", f"unix:{self.prefix}{number},server=on,wait=off")]
        self.process = subprocess.Popen(
            [program, "-machine", "none", "-nodefaults", "-display", "none", *sockets],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.connect(0).close()

    def connect(self, number):
        return QmpClient.connect_when_listening(f"{self.prefix}{number}", 30.0, self.process).negotiate()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)


def schema(bench):
    """query-qmp-schema round trips per second. QEMU's schema is longer, because it has more commands."""
    bench.need_qemu()
    rounds, seconds = (3, 0.4) if bench.quick else (7, 1.0)
    with RunningVm(bench, bench.halcyond, "halted") as ours, \
            RunningVm(bench, bench.qemu, "halted") as theirs:
        sizes = [schema_bytes(vm) for vm in (ours, theirs)]
        results = in_turns(rounds, *(lambda s=vm.socket: bench.tool("qmp_load", s, "schema", seconds)
                                     for vm in (ours, theirs)))
    mine, other = (median_of(result, "per_second") for result in results)
    bench.row("QMP query-qmp-schema", mine, other, "/s", "QEMU", mine / other, ">= 10x", mine / other >= 10)
    mine, other = mine * sizes[0] / 1e6, other * sizes[1] / 1e6
    bench.row("QMP query-qmp-schema, bytes", mine, other, "MB/s", "QEMU", mine / other,
              note=f"{sizes[0] // 1000} and {sizes[1] // 1000} kB each")


def schema_bytes(vm):
    client = QmpClient.connect(vm.socket, 10).negotiate()
    client.send({"execute": "query-qmp-schema"})
    size = len(client.receive_line())
    client.close()
    return size


def fan_out(bench):
    """stop and cont, until each of a hundred other monitors has both events."""
    bench.need_qemu()
    rounds, seconds = (3, 0.4) if bench.quick else (7, 1.0)
    with ManyMonitors(bench, bench.halcyond, AUDIENCE + 1) as ours, \
            ManyMonitors(bench, bench.qemu, AUDIENCE + 1) as theirs:
        results = in_turns(rounds, *(
            lambda p=many.prefix: bench.tool("monitor_load", "fan-out", p, AUDIENCE, seconds)
            for many in (ours, theirs)))
    mine, other = (median_of(result, "events_per_second") for result in results)
    bench.row(f"events to {AUDIENCE} monitors", mine, other, "/s", "QEMU", mine / other)
    mine, other = (median_of(result, "median_us") for result in results)
    bench.row(f"stop and cont, seen by {AUDIENCE} monitors", mine, other, "us", "QEMU", other / mine)


def idle_monitors(bench):
    """Memory of a connected monitor that was of use and is idle, by the difference that many of them make."""
    bench.need_qemu()
    needed = 2 * IDLE_MONITORS + 200
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise Skipped(f"skipped: needs {needed} descriptors, {hard} are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))

    def one(program, count):
        return {"kib": (pss_of_idle(bench, program, count) - pss_of_idle(bench, program, 1))
                / (count - 1)}

    ours, theirs = in_turns(1 if bench.quick else 3, lambda: one(bench.halcyond, IDLE_MONITORS),
                            lambda: one(bench.qemu, QEMU_IDLE_MONITORS))
    mine, other = median_of(ours, "kib"), median_of(theirs, "kib")
    bench.row(f"an idle monitor, of {IDLE_MONITORS:,} (QEMU: {QEMU_IDLE_MONITORS})", mine, other, "KiB", "QEMU",
              other / mine, "<= 16 KiB", mine <= 16)


def pss_of_idle(bench, program, count):
    with ManyMonitors(bench, program, count) as many:
        clients = [many.connect(number) for number in range(count)]
        for client in clients:
            client.command("query-commands")
        time.sleep(0.2)
        rollup = pathlib.Path(f"/proc/{many.process.pid}/smaps_rollup").read_text()
        for client in clients:
            client.close()
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))


def out_of_band(bench):
    """An out-of-band request while an in-band one waits for a file that nobody reads."""
    bench.need_qemu()
    rounds, seconds = (3, 0.3) if bench.quick else (7, 0.8)
    fifo = str(bench.directory / "fifo")
    os.mkfifo(fifo)
    with RunningVm(bench, bench.halcyond, "halted") as ours, \
            RunningVm(bench, bench.qemu, "halted") as theirs:
        results = in_turns(rounds, *(lambda s=vm.socket: bench.tool("monitor_load", "oob", s, fifo, seconds)
                                     for vm in (ours, theirs)))
    for key, label in (("median_us", "median"), ("p99_us", "p99")):
        mine, other = (median_of(result, key) for result in results)
        bench.row(f"out of band behind a blocked command, {label}", mine, other, "us", "QEMU", other / mine)


FIGURES = [("QMP schema", schema), ("QMP events", fan_out), ("QMP idle monitors", idle_monitors),
           ("QMP out of band", out_of_band)]
