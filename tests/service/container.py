"""A container with a real systemd as process 1, this host's /usr and halcyon's installed files.

systemd-nspawn --volatile=yes boots the host's own systemd on an empty root, so nothing of the
host's configuration is in it and nothing of it stays.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import tempfile

import tap
from notify import NotifySocket
from qmp_client import QmpClient

BUILD = os.environ.get("HALCYON_BUILD", "")
PREFIX = os.environ.get("HALCYON_PREFIX", "/usr/local")
PATH = f"{PREFIX}/bin:/usr/bin:/usr/sbin"
# Where systemd's control groups are, by the hierarchy's name in /proc/self/cgroup: version 1, and 2
# beside it or alone.
HIERARCHIES = {"name=systemd": ["/sys/fs/cgroup/systemd"],
               "": ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]}
BOOT_SECONDS = 60


class Unavailable(Exception):
    """There can be no such container here, with the reason."""


def own_control_groups(name):
    """New control groups below this process's: nspawn's are in them, and nobody else's."""
    made = []
    for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
        _, hierarchy, path = line.split(":", 2)
        for mount in HIERARCHIES.get(hierarchy, []):
            parent = pathlib.Path(mount, path.lstrip("/"))
            if (parent / "cgroup.procs").exists():
                (parent / name).mkdir()
                made.append(parent / name)
                break
    return made


def removed(group):
    """Removes a control group, once no process is left in it; whether it is gone."""
    for directory, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(directory)
    return not group.exists()


class Container:
    """A booted container. Raises Unavailable."""

    def __init__(self):
        self.process = None
        self.leader = None
        if os.geteuid() != 0:
            raise Unavailable("needs root, for a container")
        if shutil.which("systemd-nspawn") is None:
            raise Unavailable("systemd-nspawn is not installed (package systemd-container)")
        if PREFIX == "/usr":
            raise Unavailable("the container has the host's /usr, without this build")
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="halcyon-container-"))
        self.manager = NotifySocket()
        self.control_groups = []
        try:
            self.installed = self.install()
            self.boot()
        except BaseException:
            self.close()
            raise

    def install(self):
        """Where the build's files are, which the container has at PREFIX."""
        subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir",
                        self.directory], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       check=True)
        return self.directory / PREFIX.lstrip("/")

    def boot(self):
        log = self.directory / "log"
        name = f"halcyon-test-{os.getpid()}"
        try:
            self.control_groups = own_control_groups(name)
        except OSError as error:
            raise Unavailable(f"no control group can be made: {error}") from None
        move = "".join(f"echo $$ >{group}/cgroup.procs && " for group in self.control_groups)
        with open(log, "wb") as output:
            self.process = subprocess.Popen(
                ["sh", "-c", f'{move} exec "$@"', "sh", "systemd-nspawn", "--directory=/", "--volatile=yes", "--register=no",
                 "--keep-unit", "--private-network", f"--machine={name}", "--notify-ready=yes",
                 "--console=pipe", f"--bind-ro={self.installed}:{PREFIX}", "--boot",
                 "systemd.firstboot=off"], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env={**os.environ, **self.manager.environment})
        try:
            self.leader = int(self.manager.wait_for("X_NSPAWN_LEADER_PID", timeout=BOOT_SECONDS)
                              ["X_NSPAWN_LEADER_PID"])
            self.manager.wait_for("READY", timeout=BOOT_SECONDS)
        except TimeoutError:
            self.process.kill()
            self.process.wait()
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise Unavailable(f"systemd does not boot in a container: {' '.join(last)}") from None
        self.output("systemd-sysusers")
        if os.path.exists("/dev/kvm"):
            self.make_device("/dev/kvm", "kvm")

    def make_device(self, device, group):
        """A node of the container's own for a device of the host's, whose node stays as it is."""
        made = self.path(device)
        os.mknod(made, stat.S_IFCHR, os.stat(device).st_rdev)
        os.chown(made, 0, int(self.output("getent", "group", group).split(":")[2]))
        os.chmod(made, 0o660)

    def run(self, *command, **keywords):
        """A finished command, inside."""
        return subprocess.run(
            ["nsenter", f"--target={self.leader}", "--all", "env", "-i", f"PATH={PATH}", "LC_ALL=C",
             *command], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            **keywords)

    def output(self, *command, **keywords):
        """What a command prints that succeeds."""
        done = self.run(*command, **keywords)
        tap.equal((done.returncode, done.stderr), (0, ""), " ".join(command))
        return done.stdout

    def path(self, inside):
        """A path in the container as one of ours."""
        return f"/proc/{self.leader}/root{inside}"

    def connect(self, name):
        """A client of a machine's monitor, which may not be up yet."""
        client = QmpClient.connect(self.path(f"/run/halcyon/{name}.sock"), 30.0)
        tap.cleanup(client.close)
        return client

    def close(self):
        if self.leader is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.leader, signal.SIGKILL)
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        for group in self.control_groups:
            tap.wait_until(lambda group=group: removed(group), f"the end of processes in {group}")
        shutil.rmtree(self.directory, ignore_errors=True)
