"""What a test needs around it: the binary under test, accelerators, firmware files, started VMs.

HALCYOND names the binary. It may also be a qemu-system-x86_64, which shows whether a test expects
of halcyond what QEMU does; options that only halcyond has are then left out.
"""

import contextlib
import os
import pathlib
import select
import shutil
import socket
import subprocess
import sys
import tempfile

import tap
from qmp_client import Daemon, QmpClient

BINARY = os.environ.get("HALCYOND", "halcyond")
if shutil.which(BINARY) is None:
    sys.exit(f"HALCYOND must name the daemon: {BINARY} is not there")
IS_QEMU = "qemu" in os.path.basename(BINARY)
SEABIOS = "/usr/share/seabios/bios.bin"


def _usable(device):
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True


KVM = _usable("/dev/kvm")
# On a Hyper-V root partition, or when the whole test runs on the emulator: mshv-emulator python3 TEST mshv
MSHV = _usable("/dev/mshv")
ACCELS = ["soft", "kvm", *(["mshv"] if MSHV else [])]


def need(accel):
    """Skips the running test where the accelerator is not there."""
    if (accel == "kvm" and not KVM) or (accel == "mshv" and not MSHV):
        tap.skip(f"/dev/{accel} cannot be opened")


def halcyond_only():
    """Skips the running test when the binary is QEMU: QEMU differs, or lacks the thing."""
    if IS_QEMU:
        tap.skip("not with QEMU")


def temporary_directory():
    """A directory that goes with the test. World-readable, for the unprivileged runs."""
    path = tempfile.mkdtemp(prefix="halcyon-test-")
    os.chmod(path, 0o755)
    tap.cleanup(lambda: shutil.rmtree(path, ignore_errors=True))
    return path


def write_file(name, data, directory=None):
    path = os.path.join(directory or temporary_directory(), name)
    with open(path, "wb") as file:
        file.write(data)
    return path


def options(accel, *extra):
    """The command line of a small VM; QEMU's spelling of what it calls otherwise."""
    need(accel)
    if IS_QEMU:
        accel = "tcg" if accel == "soft" else accel
        extra = [*extra, "-name", "debug-threads=on"]
    return ["-accel", accel, "-m", "16", "-nodefaults", "-display", "none", *extra]


class Vm:
    """A started daemon and its firmware; everything is undone when the test ends."""

    def __init__(self, accel, image, *extra, monitors=1, **keywords):
        bios = image if isinstance(image, str) else write_file("bios.bin", image)
        self.daemon = Daemon(BINARY, *options(accel, "-bios", bios, *extra), monitors=monitors,
                             **keywords)
        tap.cleanup(self.daemon.kill)
        self.pid = self.daemon.pid
        self.pidfd = os.pidfd_open(self.pid)
        tap.cleanup(lambda: os.close(self.pidfd))

    def connect(self, number=0, **keywords):
        client = self.daemon.connect(number, **keywords)
        tap.cleanup(client.close)
        return client

    def gone(self, timeout=5.0):
        """Waits for the process to end; its exit status."""
        ready, _, _ = select.select([self.pidfd], [], [], timeout)
        if not ready:
            raise AssertionError(f"process {self.pid} did not end within {timeout} s; threads: "
                                 f"{self.daemon.threads()}")
        return self.daemon.process.wait()

    def expect_exit(self, status=0, timeout=5.0):
        tap.equal(self.gone(timeout), status, f"exit status (stderr: {self.daemon.stderr()!r})")

    def alive(self):
        return self.daemon.process.poll() is None


def start(accel, image, *extra, **keywords):
    """A started VM and one negotiated client of its monitor."""
    vm = Vm(accel, image, *extra, **keywords)
    return vm, vm.connect()


def vcpu_threads(pid):
    """Thread ids of a process whose name is that of a vCPU thread."""
    found = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                name = pathlib.Path(f"/proc/{pid}/task/{thread}/comm").read_text().strip()
                if is_vcpu_name(name):
                    found.append(int(thread))
    return found


def is_vcpu_name(name):
    """halcyond's "vcpu-N"; QEMU's "CPU N/KVM" and "ALL CPUs/TCG"."""
    return name.lower().startswith(("vcpu", "cpu ", "all cpus"))


def open_files(pid):
    """What the descriptors of a process point to; empty when it is gone."""
    targets = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                targets.append(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
    return targets


def cpu_nanoseconds(pid, thread):
    """CPU time a thread has used (first field of schedstat)."""
    return int(pathlib.Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[0])


def thread_state(pid, thread):
    """R, S, D, ... of /proc/PID/task/TID/stat."""
    text = pathlib.Path(f"/proc/{pid}/task/{thread}/stat").read_text()
    return text.rpartition(")")[2].split()[0]


def run_to_end(arguments, timeout=10.0, **keywords):
    """Runs the binary to its end without any monitor of ours."""
    return subprocess.run([BINARY, *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=timeout, text=True, check=False, **keywords)


def listening_socket(path, backlog=8):
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(backlog)
    tap.cleanup(listener.close)
    return listener


def connect(path, negotiate=True, process=None):
    client = QmpClient.connect_when_listening(path, 10.0, process)
    tap.cleanup(client.close)
    return client.negotiate() if negotiate else client


def debugcon_options(target):
    """A debug console at port 402h; QEMU's would be at E9h."""
    return ["-debugcon", target, *(["-global", "isa-debugcon.iobase=0x402"] if IS_QEMU else [])]


def debugcon_file():
    """The options for a debug console into a file, and the file's path."""
    path = os.path.join(temporary_directory(), "debugcon")
    return debugcon_options(f"file:{path}"), path


def read_file(path):
    with contextlib.suppress(FileNotFoundError):
        return pathlib.Path(path).read_bytes()
    return b""


def wait_text(path, text, timeout=10.0):
    """Waits until a file has a text."""
    return tap.wait_until(lambda: text.encode() in read_file(path),
                          f"{text!r} in {path}", timeout)
