"""What the figures share: the VMs that are measured, the C++ tools, the rows of the table."""

import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "qmp"))
import guests  # noqa: E402
from qmp_client import QmpClient  # noqa: E402

NO_QEMU = "skipped: qemu-system-x86_64 is not installed"
NO_KVM = "skipped: /dev/kvm cannot be opened"


class Skipped(Exception):
    """The figure cannot be had here, and need not be."""


class Bench:
    """What the figures share: where things are, how long to measure, and the rows of the table."""

    def __init__(self, options):
        self.halcyond = options.halcyond
        self.tools = pathlib.Path(options.tools)
        self.qemu = shutil.which(options.qemu)
        self.quick = options.quick
        self.rows = []
        self.failures = []
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="halcyon-bench-"))
        self.kvm = _can_open("/dev/kvm")
        self.firmware = {}
        for name, image in (("halted", guests.halt_loop()), ("busy", guests.on_all_vcpus("pio")),
                            ("idle", guests.on_all_vcpus("hlt"))):
            path = self.directory / f"{name}.bin"
            path.write_bytes(image)
            self.firmware[name] = str(path)

    def close(self):
        shutil.rmtree(self.directory, ignore_errors=True)

    def command(self, program, firmware, vcpus=1, memory=128):
        """The same VM for both programs, each on the best accelerator it has."""
        accelerator = "kvm" if self.kvm else "soft" if program == self.halcyond else "tcg"
        return [program, "-accel", accelerator, "-smp", str(vcpus), "-m", str(memory),
                "-nodefaults", "-display", "none", "-bios", self.firmware[firmware]]

    def need_qemu(self):
        if self.qemu is None:
            raise Skipped(NO_QEMU)

    def need_kvm(self):
        if not self.kvm:
            raise Skipped(NO_KVM)

    def tool(self, name, *arguments, cpu=None, prefix=()):
        """Runs one of the C++ tools, on one CPU if that is given; the object it prints."""
        result = subprocess.run(
            [*prefix, str(self.tools / name), *map(str, arguments)], check=False,
            capture_output=True, text=True, timeout=60,
            preexec_fn=None if cpu is None else lambda: os.sched_setaffinity(0, {cpu}))
        if result.returncode != 0:
            raise RuntimeError((result.stderr.strip() or f"exit status {result.returncode}")
                               .splitlines()[-1])
        return json.loads(result.stdout)

    def emulated(self, name, *arguments):
        """The same with mshv-emulator's /dev/mshv."""
        launcher = self.tools.parent / "tools" / "mshv-emulator" / "mshv-emulator"
        if not launcher.exists():
            raise Skipped("skipped: mshv-emulator is not built")
        return self.tool(name, *arguments, prefix=[str(launcher)])

    def row(self, name, ours, beside, unit, beside_name, ratio, expected=None, met=None, note=""):
        self.rows.append({"figure": name, "halcyon": ours, "beside": beside, "unit": unit,
                          "beside_name": beside_name, "ratio": ratio, "expected": expected,
                          "met": met, "note": note})

    def skipped(self, name, why):
        self.rows.append({"figure": name, "skipped": why})


class RunningVm:
    """A VM that stays up while it is measured, with a monitor at `socket`."""

    def __init__(self, bench, program, firmware, vcpus=1, memory=128):
        self.socket = str(bench.directory / f"{os.path.basename(program)}-{time.monotonic_ns()}")
        self.process = subprocess.Popen(
            [*bench.command(program, firmware, vcpus, memory), "-qmp",
             f"unix:{self.socket},server=on,wait=off"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        QmpClient.connect_when_listening(self.socket, 10.0, self.process).negotiate().close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class CannedServer:
    """A server of canned replies, which is as little as one can do, at `socket`."""

    def __init__(self, bench):
        self.socket = str(bench.directory / "canned")
        self.process = subprocess.Popen([str(bench.tools / "qmp_load"), self.socket, "serve", "0"])
        QmpClient.connect_when_listening(self.socket, 10.0, self.process).close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def _can_open(path):
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def in_turns(rounds, *functions):
    """Calls them by turns, the order reversed each time; a list of results for each."""
    results = tuple([] for _ in functions)
    for number in range(rounds):
        for which in range(len(functions))[::1 if number % 2 == 0 else -1]:
            results[which].append(functions[which]())
    return results


def pin(pid, cpu):
    """Keeps a process, all its threads and those they start, on one CPU."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(thread), {cpu})


def median_of(results, key):
    return statistics.median(result[key] for result in results)
