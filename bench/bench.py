#!/usr/bin/env python3
"""Measures Halcyon side by side with QEMU and with the bare kernel interface, and prints a table.

    bench.py --halcyond BINARY --tools DIRECTORY [--quick] [--json FILE] [WORD...]

Each figure stands beside another one measured in the same run, in turns (A B B A ...), and what counts is
the ratio of the medians: absolute numbers depend on the machine and its load. What is not installed is
skipped with a word; nothing is installed. With WORDs only the figures whose name has one are measured.

Exits with 0 unless something could not be measured that should have been. An expectation that was missed
is told in the table, and is no error.
"""

import argparse
import json
import os
import pathlib
import platform
import subprocess
import sys
import time

sys.dont_write_bytecode = True  # the source tree stays clean

import monitors  # noqa: E402
from harness import (NO_KVM, Bench, CannedServer, QmpClient, RunningVm, Skipped, in_turns,  # noqa: E402
                     median_of, pin)


def life(bench):
    """(a) exec to greeting and (c) quit to gone, of a VM whose guest keeps a vCPU busy."""
    bench.need_qemu()
    rounds = 15 if bench.quick else 60
    monitor = ["-chardev", "socket,id=m,fd=@FD@,server=on,wait=off", "-mon",
               "chardev=m,mode=control"]

    def one(program):
        return lambda: bench.tool("vm_life", 20, *bench.command(program, "busy"), *monitor)

    one(bench.halcyond)(), one(bench.qemu)()  # the page cache
    ours, theirs = in_turns(rounds, one(bench.halcyond), one(bench.qemu))
    for key, name, wanted in (("greeting_us", "exec to QMP greeting", 5.0),
                              ("quit_reply_us", "quit sent to its reply", None),
                              ("quit_gone_us", "quit sent to process gone", 3.0)):
        mine, other = median_of(ours, key), median_of(theirs, key)
        bench.row(name, mine / 1000, other / 1000, "ms", "QEMU", other / mine,
                  None if wanted is None else f">= {wanted:g}x sooner",
                  None if wanted is None else other / mine >= wanted,
                  "QEMU answers before it stops" if key == "quit_reply_us" else "")


def round_trips(bench):
    """(b) query-status round trips per second, beside QEMU's, and beside those of canned replies, which are
    what client, sockets and machine allow.

    One at a time, a client and a server that are on different CPUs wake each other, and on a virtual machine
    waking an idle CPU costs more than the server does. So what is judged is both on one CPU, where each hands
    over to the other and the rest is work; a client that polls on a CPU of its own stands beside it."""
    bench.need_qemu()
    rounds, seconds = (5, 0.3) if bench.quick else (9, 0.8)
    cpus = sorted(os.sched_getaffinity(0))
    with RunningVm(bench, bench.halcyond, "halted") as ours, \
            RunningVm(bench, bench.qemu, "halted") as theirs, CannedServer(bench) as canned:

        def rates(mode, cpu=None):
            results = in_turns(rounds, *(
                lambda s=server: bench.tool("qmp_load", s.socket, mode, seconds, cpu=cpu)
                for server in (ours, theirs, canned)))
            return [median_of(result, "per_second") for result in results]

        mine, other, _ = rates("pipelined")
        bench.row("QMP pipelined (64)", mine, other, "/s", "QEMU", mine / other, ">= 10x",
                  mine / other >= 10)
        for server in (ours, theirs, canned):
            pin(server.process.pid, cpus[0])
        mine, other, limit = rates("ping-pong", cpus[0])
        bench.row("QMP ping-pong, one CPU", mine, other, "/s", "QEMU", mine / other, ">= 5x",
                  mine / other >= 5)
        bench.row("QMP ping-pong, one CPU, limit", mine, limit, "/s", "canned replies",
                  mine / limit)
        if len(cpus) > 1:
            mine, other, limit = rates("polling", cpus[-1])
            bench.row("QMP ping-pong, client polls", mine, other, "/s", "QEMU", mine / other,
                      note=f"canned replies: {limit / other:.1f}x")
            bench.row("QMP ping-pong, client polls, limit", mine, limit, "/s", "canned replies",
                      mine / limit)


def idle_memory(bench):
    """(d) PSS of an idle VM, without what backs guest RAM."""
    bench.need_qemu()
    memory = 256

    def one(program, vcpus):
        def measure():
            with RunningVm(bench, program, "halted", vcpus, memory) as vm:
                time.sleep(0.2)
                return {"pss": pss_beyond_ram(vm.process.pid, memory)}
        return measure

    for vcpus in (1, 4):
        ours, theirs = in_turns(3 if bench.quick else 7, one(bench.halcyond, vcpus),
                                one(bench.qemu, vcpus))
        mine, other = median_of(ours, "pss"), median_of(theirs, "pss")
        bench.row(f"PSS beyond guest RAM, {vcpus} vCPU", mine, other, "KiB", "QEMU", other / mine,
                  ">= 6x less", other / mine >= 6)


def pss_beyond_ram(pid, memory_mib):
    """smaps_rollup's PSS less that of the mappings large enough to be guest RAM. KiB."""
    total = 0
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            total = int(line.split()[1])
    ram = 0
    size = 0
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if line.startswith("Size:"):
            size = int(line.split()[1])
        elif line.startswith("Pss:") and size >= memory_mib * 1024 * 9 // 10:
            ram += int(line.split()[1])
    return total - ram


def exits(bench):
    """(e) a port exit against a bare KVM_RUN loop."""
    bench.need_kvm()
    result = bench.tool("exit_cost", *((150, 500) if bench.quick else (600, 1000)))
    bench.row("PIO exit through the Vcpu", result["accel_ns"], result["bare_ns"], "ns",
              "bare KVM_RUN", result["accel_ratio"], "<= 1.05x turn by turn", result["accel_ratio"] <= 1.05)
    bench.row("PIO exit through the port bus", result["bus_ns"], result["bare_ns"], "ns",
              "bare KVM_RUN", result["bus_ratio"], "<= 1.05x turn by turn", result["bus_ratio"] <= 1.05)


def mshv_exits(bench):
    """(e) the same on the emulated Microsoft hypervisor: what the backend adds, what the emulator adds."""
    bench.need_kvm()
    arguments = (40, 500) if bench.quick else (200, 1000)
    rounds = in_turns(3, lambda: bench.tool("exit_share", "kvm", *arguments),
                      lambda: bench.emulated("exit_share", "mshv", *arguments))
    kvm, mshv = (median_of(results, "pio_own_ns") for results in rounds)
    bench.row("mshv: the backend's own share of a PIO exit", mshv, kvm, "ns", "that of kvm", mshv / kvm,
              "<= 1.5x", mshv / kvm <= 1.5)
    for kind, label in (("pio", "PIO"), ("mmio", "MMIO")):
        kvm, mshv = (median_of(results, f"{kind}_ns") for results in rounds)
        bench.row(f"mshv: {label} exit on the emulator", mshv, kvm, "ns", "kvm", mshv / kvm,
                  note="the difference is the emulator's")


def kicks(bench):
    """(f) kick to stopped in process, beside plain threads that are signalled; mshv on the emulator."""
    seconds = 0.6 if bench.quick else 3.0
    for accelerator in ("kvm", "soft", "mshv"):
        for load in ("idle", "busy"):
            for vcpus in (1, 2, 8, 64):
                name = f"kick to stopped, {accelerator}, {vcpus} {load}"
                if accelerator != "soft" and not bench.kvm:
                    bench.skipped(name, NO_KVM)
                    continue
                guarded(bench, name, lambda: kick_rows(bench, name, accelerator, load, vcpus,
                                                       seconds))


def kick_rows(bench, name, accelerator, load, vcpus, seconds):
    tool = bench.emulated if accelerator == "mshv" else bench.tool
    result = tool("kick_latency", accelerator, bench.firmware[load], vcpus, seconds,
                  "idle" if load == "idle" else "busy")
    note = f"{result['count']} stops" + (f", {result['rekicks']} re-kicks"
                                         if result["rekicks"] else "")
    for key, label in (("median_us", "median"), ("p999_us", "p99.9")):
        bench.row(f"{name}, {label}", result[key], result["floor_" + key], "us", "plain threads",
                  result[key] / result["floor_" + key],
                  note=note if key == "median_us" else "")


def stop_round_trips(bench):
    """(f) the same through QMP: stop sent to its reply."""
    bench.need_qemu()
    rounds, seconds = (2, 0.5) if bench.quick else (5, 1.0)
    for vcpus in (1, 8):
        with RunningVm(bench, bench.halcyond, "busy", vcpus) as ours, \
                RunningVm(bench, bench.qemu, "busy", vcpus) as theirs:
            for vm in (ours, theirs):  # Only the one under measurement shall be busy.
                set_running(vm, False)
            mine, other = in_turns(rounds, lambda: measured_stop(bench, ours, seconds),
                                   lambda: measured_stop(bench, theirs, seconds))
        for key, label in (("median_us", "median"), ("p999_us", "p99.9")):
            a, b = median_of(mine, key), median_of(other, key)
            bench.row(f"QMP stop to reply, {vcpus} busy, {label}", a, b, "us", "QEMU", b / a)


def measured_stop(bench, vm, seconds):
    set_running(vm, True)
    result = bench.tool("qmp_load", vm.socket, "stop-cont", seconds)
    set_running(vm, False)
    return result


def set_running(vm, running):
    client = QmpClient.connect(vm.socket, 10).negotiate()
    client.command("cont" if running else "stop")
    client.close()


FIGURES = [("start and quit", life), ("QMP round trips", round_trips),
           *monitors.FIGURES,
           ("memory", idle_memory), ("exits", exits), ("mshv exits", mshv_exits), ("stop through QMP", stop_round_trips),
           ("kicks", kicks)]


def guarded(bench, name, function):
    """Runs a measurement; what goes wrong is a row of its own and a failure of the whole."""
    try:
        function()
    except Skipped as reason:
        bench.skipped(name, str(reason))
    except Exception as error:  # one figure's failure must not cost the others
        bench.failures.append(f"{name}: {error}")
        bench.skipped(name, f"FAILED: {error}")


def number(value):
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def print_table(bench):
    header = ("figure", "halcyon", "beside it", "", "ratio", "expected", "")
    lines = [header]
    for row in bench.rows:
        if "skipped" in row:
            lines.append((row["figure"], row["skipped"], "", "", "", "", ""))
            continue
        verdict = {None: row["note"], True: "met", False: "MISSED"}[row["met"]]
        lines.append((row["figure"], f"{number(row['halcyon'])} {row['unit']}",
                      f"{number(row['beside'])} {row['unit']}", row["beside_name"],
                      f"{row['ratio']:.2f}x", row["expected"] or "", verdict))
    full = [line for line in lines if line[2]]
    widths = [max(len(line[column]) for line in full) for column in range(7)]
    widths[0] = max(len(line[0]) for line in lines)
    for line in lines:
        if line[2]:
            print("  ".join([line[0].ljust(widths[0]), line[1].rjust(widths[1]),
                             line[2].rjust(widths[2]), line[3].ljust(widths[3]),
                             line[4].rjust(widths[4]), line[5].ljust(widths[5]), line[6]]).rstrip())
        else:
            print(f"{line[0].ljust(widths[0])}  {line[1]}")
    judged = [row for row in bench.rows if row.get("met") is not None]
    missed = [row["figure"] for row in judged if not row["met"]]
    print(f"\n{len(judged) - len(missed)} of {len(judged)} expectations met"
          + (f"; missed: {', '.join(missed)}" if missed else ""))


def environment(bench):
    def version(program):
        if program is None:
            return None
        result = subprocess.run([program, "-version"], capture_output=True, text=True, check=False)
        return (result.stdout.splitlines() or [""])[0]

    model = next((line.split(":", 1)[1].strip() for line in
                  pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), "")
    return {"date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "cpu": model,
            "cpus": os.cpu_count(), "kernel": platform.release(), "quick": bench.quick,
            "load": os.getloadavg()[0], "halcyon": version(bench.halcyond),
            "qemu": version(bench.qemu), "accelerator": "kvm" if bench.kvm else "soft and tcg"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--halcyond", default=os.environ.get("HALCYOND"), help="the daemon")
    parser.add_argument("--tools", help="where the C++ tools were built (beside the daemon: ../bench)")
    parser.add_argument("--qemu", default="qemu-system-x86_64")
    parser.add_argument("--quick", action="store_true", help="under three minutes")
    parser.add_argument("--json", metavar="FILE", help="write the figures here too")
    parser.add_argument("words", nargs="*", help="only the figures whose name has one of these")
    options = parser.parse_args()
    if not options.halcyond:
        parser.error("--halcyond BINARY is needed")
    options.halcyond = os.path.abspath(options.halcyond)
    if not options.tools:
        options.tools = os.path.join(os.path.dirname(options.halcyond), "..", "bench")
    bench = Bench(options)
    try:
        facts = environment(bench)
        for name, function in FIGURES:
            if not options.words or any(word in name for word in options.words):
                print(f"measuring: {name}", file=sys.stderr, flush=True)
                guarded(bench, name, lambda f=function: f(bench))
        print(f"{facts['halcyon']}; {facts['qemu'] or 'no QEMU'}; {facts['accelerator']}; "
              f"{facts['cpus']} CPUs, load {facts['load']:.1f}\n")
        print_table(bench)
        if options.json:
            pathlib.Path(options.json).write_text(
                json.dumps({"environment": facts, "figures": bench.rows}, indent=2) + "\n",
                encoding="utf-8")
    finally:
        bench.close()
    for failure in bench.failures:
        print(f"could not be measured: {failure}", file=sys.stderr)
    sys.exit(1 if bench.failures else 0)


if __name__ == "__main__":
    main()
