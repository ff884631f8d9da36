#!/usr/bin/env python3
"""A Debian unstable with its QEMU, in a directory that is made once and kept.

    qemu_chroot.py [--fresh]        makes it, and says what is in it

Debian 12's QEMU has no mshv accelerator; unstable's has. The directory is $HALCYON_SID, or
halcyon/sid in the user's cache. debootstrap fills it, which needs root, the network and half a
minute. Programs run in it with /dev, /proc, /tmp and the emulator mounted, in a mount namespace of
their own: nothing stays mounted, and paths under /tmp mean the same inside and outside.
"""

import argparse
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

SUITE = "sid"
PACKAGES = "qemu-system-x86,seabios"
MIRROR = os.environ.get("HALCYON_MIRROR", "http://deb.debian.org/debian")
PROGRAM = "qemu-system-x86_64"
OLDEST = (11, 1)
SEABIOS = "usr/share/seabios/bios-256k.bin"
INSIDE = "/opt/mshv-emulator"  # where the emulator is mounted


class Unavailable(Exception):
    """There can be no such chroot here, with the reason."""


def default_directory():
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(os.environ.get("HALCYON_SID") or os.path.join(cache, "halcyon", "sid"))


class Chroot:
    """The directory, and how to run QEMU in it. `version` and `package` say what is there."""

    def __init__(self, directory=None):
        self.directory = pathlib.Path(directory or default_directory())
        self.version = None
        self.package = None

    def ready(self, make):
        """Checks what is there, having made it if `make` allows. Raises Unavailable."""
        if os.geteuid() != 0:
            raise Unavailable("needs root, for chroot")
        if not (self.directory / "usr/bin" / PROGRAM).exists() or not self._check():
            if not make:
                raise Unavailable(f"{self.directory} has no QEMU of Debian unstable; "
                                  "./dev qemu-mshv makes it")
            self.make()
            if not self._check():
                raise Unavailable(f"{self.directory} has QEMU {self.version}, which is too old")
        if "mshv" not in self._output(PROGRAM, "-accel", "help").split():
            raise Unavailable(f"QEMU {self.package} was built without mshv")
        return self

    def make(self):
        """Makes the directory anew. It appears under its name only when it is complete."""
        if shutil.which("debootstrap") is None:
            raise Unavailable("debootstrap is not installed")
        new = self.directory.with_name(f"{self.directory.name}.new-{os.getpid()}")
        new.parent.mkdir(parents=True, exist_ok=True)
        print(f"# debootstrap {SUITE} {self.directory}", flush=True)
        done = subprocess.run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE,
                               str(new), MIRROR], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, check=False)
        if done.returncode != 0:
            shutil.rmtree(new, ignore_errors=True)
            last = (done.stdout + done.stderr).strip().splitlines()[-1:]
            raise Unavailable(f"debootstrap of {SUITE} from {MIRROR} failed: {' '.join(last)}")
        for archive in (new / "var/cache/apt/archives").glob("*.deb"):
            archive.unlink()
        if self.directory.exists():
            shutil.rmtree(self.directory)
        new.rename(self.directory)

    def _check(self):
        """Reads the version; whether it is new enough."""
        found = re.search(r"version (\d+)\.(\d+)(\S*)(?: \((.*)\))?",
                          self._output(PROGRAM, "--version"))
        if found is None:
            return False
        self.version = f"{found[1]}.{found[2]}{found[3]}"
        self.package = found[4] or self.version
        return (int(found[1]), int(found[2])) >= OLDEST

    def _output(self, *command):
        """What a command says that runs in the directory; nothing is mounted for it."""
        return subprocess.run(["chroot", str(self.directory), *command], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False).stdout

    @property
    def seabios(self):
        """The firmware that QEMU boots by itself."""
        return str(self.directory / SEABIOS)

    def wrapper(self, path, launcher):
        """Writes an executable that runs QEMU in the chroot on the emulator, and whose process QEMU
        becomes. `launcher` is the emulator's launcher; further options for it come from the
        environment variable EMULATOR_OPTIONS."""
        inside = pathlib.Path(self.directory, INSIDE.lstrip("/"))
        inside.mkdir(parents=True, exist_ok=True)
        mine = pathlib.Path(path).with_suffix(".files")
        gather(pathlib.Path(launcher), mine)
        quoted = {name: shlex.quote(str(value)) for name, value in
                  {"root": self.directory, "inside": inside, "mine": mine}.items()}
        script = WRAPPER.format(inside_name=INSIDE, program=PROGRAM,
                                launcher=pathlib.Path(launcher).name, **quoted)
        pathlib.Path(path).write_text(script)
        os.chmod(path, 0o755)
        return path


# Every step becomes the next one (exec), so the process that was started is the one that runs QEMU.
# meson sets MALLOC_PERTURB_ for tests: with it QEMU 11.1 boots nothing, as it takes the memory of its
# hypercall pages (qemu_memalign) for zeros.
WRAPPER = """#!/bin/sh
set -eu
if [ "${{MSHV_EMULATOR_NAMESPACE-}}" != private ]; then
    export MSHV_EMULATOR_NAMESPACE=private
    exec unshare --mount --propagation private "$0" "$@"
fi
mount --rbind /dev {root}/dev
mount --bind /proc {root}/proc
mount --bind /tmp {root}/tmp
mount --bind {mine} {inside}
# shellcheck disable=SC2086  # a list
exec chroot {root} env -u MALLOC_PERTURB_ LD_LIBRARY_PATH={inside_name} HOME=/root \\
    {inside_name}/{launcher} ${{EMULATOR_OPTIONS-}} /usr/bin/{program} "$@"
"""


def gather(launcher, directory):
    """Copies the launcher, the library beside it and what that needs besides the C and C++
    libraries, which the chroot has, into a directory."""
    directory.mkdir(exist_ok=True)
    library = launcher.with_name("libmshv-emulator.so")
    for file in (launcher, library):
        shutil.copy2(file, directory / file.name)
    listing = subprocess.run(["ldd", str(library)], capture_output=True, text=True,
                             check=True).stdout
    for name, file in re.findall(r"(lib(?:Zydis|Zycore)\S*) => (\S+)", listing):
        shutil.copy(file, directory / name)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fresh", action="store_true", help="make it anew")
    options = parser.parse_args()
    chroot = Chroot()
    try:
        if options.fresh:
            chroot.make()
        chroot.ready(make=True)
    except Unavailable as reason:
        sys.exit(f"qemu_chroot: {reason}")
    print(f"{chroot.directory}: QEMU {chroot.version} ({chroot.package})")


if __name__ == "__main__":
    main()
