#!/usr/bin/env python3
"""QMP clients that others wrote, driving the real daemon. `./dev clients` installs them; what is not there is
skipped. docs/clients.md says what was tried."""

import os
import pathlib
import shutil
import socket
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "qmp"))

import guests  # noqa: E402
import tap  # noqa: E402
from fixtures import Vm, temporary_directory  # noqa: E402

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"), "halcyon")
NODE_MODULES = CACHE / "clients" / "node_modules"
GO_SOURCES = pathlib.Path("/usr/share/gocode")


def need_program(name):
    path = shutil.which(name)
    if path is None:
        tap.skip(f"{name} is not installed (./dev clients)")
    return path


def drive(*command, **keywords):
    """Runs a client, which says "done" when all was as it should be."""
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **keywords)
    tap.equal((result.returncode, result.stdout), (0, "done\n"), f"the client ({result.stderr!r})")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@tap.test("npm's qemu-qmp")
def _():
    node = need_program("node")
    if not (NODE_MODULES / "qemu-qmp").is_dir():
        tap.skip("qemu-qmp is not installed (./dev clients)")
    vm = Vm("soft", guests.spin())
    drive(node, str(HERE / "qemu_qmp.js"), str(NODE_MODULES), vm.daemon.paths[0])
    vm.expect_exit(0)


@tap.test("DigitalOcean's go-qemu", timeout=120)
def _():
    go = need_program("go")
    if not (GO_SOURCES / "src/github.com/digitalocean/go-qemu").is_dir():
        tap.skip("go-qemu is not installed (./dev clients)")
    directory = temporary_directory()
    program = os.path.join(directory, "client")
    environment = {**os.environ, "GOPATH": str(GO_SOURCES), "GO111MODULE": "off", "CGO_ENABLED": "0",
                   "GOCACHE": os.environ.get("GOCACHE", str(CACHE / "go"))}
    subprocess.run([go, "build", "-o", program, str(HERE / "go_qemu.go")], check=True, env=environment,
                   timeout=100)
    vm = Vm("soft", guests.spin())
    drive(program, vm.daemon.paths[0])
    vm.expect_exit(0)


@tap.test("the browsers' WebSocket API, in Node")
def _():
    node = need_program("node")
    probe = subprocess.run([node, "--experimental-websocket", "-e", ""], capture_output=True, check=False)
    if probe.returncode != 0:
        tap.skip("this Node has no WebSocket (20.10 and newer have)")
    port = free_port()
    vm = Vm("soft", guests.spin(), "-qmp", f"websocket:127.0.0.1:{port},server=on,wait=off")
    vm.connect()  # it listens before it greets
    drive(node, "--experimental-websocket", str(HERE / "websocket.js"), str(port))
    vm.expect_exit(0)


if __name__ == "__main__":
    tap.main()
