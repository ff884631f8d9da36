"""QEMU's VMs on the emulator, as the tests and the storm start them: Debian unstable's QEMU, in its
chroot (qemu_chroot.py), with the emulator that MSHV_EMULATOR_LAUNCHER names."""

import os
import pathlib
import shutil
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "qmp"))

from qemu_chroot import Chroot  # noqa: E402
from qmp_client import Daemon  # noqa: E402

LAUNCHER = os.environ.get("MSHV_EMULATOR_LAUNCHER", "mshv-emulator")
KVM = "/dev/kvm"


class Setup:
    """A chroot that is ready, and the executable that runs QEMU in it on the emulator; with a
    directory under /tmp, the one that is the same inside. Raises qemu_chroot.Unavailable."""

    def __init__(self, make):
        self.chroot = Chroot().ready(make)
        self.directory = tempfile.mkdtemp(prefix="halcyon-qemu-", dir="/tmp")
        launcher = shutil.which(LAUNCHER)
        if launcher is None:
            sys.exit(f"MSHV_EMULATOR_LAUNCHER must name the emulator: {LAUNCHER} is not there")
        self.qemu = self.chroot.wrapper(self.path("qemu-mshv"), launcher)
        # A copy that QEMU's chroot and halcyond both see under one name.
        self.seabios = shutil.copy(self.chroot.seabios, self.path("bios.bin"))

    def close(self):
        shutil.rmtree(self.directory, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.directory, name)

    def start(self, *options, name="vm", timeout=30.0, emulator_options=""):
        """A started QEMU: a Daemon whose process is QEMU's. Its firmware's console is in the file
        path(name + ".console"), what the emulator refused in path(name + ".log")."""
        console, log = self.path(f"{name}.console"), self.path(f"{name}.log")
        for file in (console, log):
            pathlib.Path(file).unlink(missing_ok=True)
        return Daemon(self.qemu, "-accel", "mshv", "-nodefaults", "-display", "none", "-name",
                      "debug-threads=on", "-chardev", f"file,id=console,path={console}", "-device",
                      "isa-debugcon,chardev=console,iobase=0x402", *options, timeout=timeout,
                      environment={"EMULATOR_OPTIONS": f"--log {log} {emulator_options}"})
