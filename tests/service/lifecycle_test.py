#!/usr/bin/env python3
"""Many lives of a service, some of them ended by force: nothing is left that stops the next."""

import os
import pathlib
import random
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "qmp"))

import guests  # noqa: E402
import tap  # noqa: E402
from fixtures import ACCELS, BINARY, connect, options, temporary_directory, write_file  # noqa: E402
from notify import NotifySocket  # noqa: E402

KILLS = 15
CYCLES = 500 // len(ACCELS)


class Service:
    """The same service again and again: its files stay where they are."""

    def __init__(self, accel):
        self.directory = temporary_directory()
        self.socket = os.path.join(self.directory, "qmp.sock")
        self.words = [*options(accel, "-bios", write_file("bios.bin", guests.pio_hammer())),
                      "-qmp", f"unix:{self.socket},server=on,wait=off",
                      "-pidfile", os.path.join(self.directory, "pid"), "-smp", "2",
                      "-serial", f"unix:{self.directory}/console.sock,server=on,wait=off"]
        self.process = None
        tap.cleanup(self.kill)

    def start(self, manager=None):
        environment = {**os.environ, **(manager.environment if manager else {})}
        self.process = subprocess.Popen([BINARY, *self.words], stdin=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, text=True, env=environment)

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
        if self.process is not None:
            self.process.communicate()

    def expect_life(self):
        """Starts, answers, ends well, and leaves no file."""
        self.start()
        client = connect(self.socket, process=self.process)
        tap.equal(client.command("query-status")["status"], "running", "status")
        client.command("quit")
        client.close()
        _, stderr = self.process.communicate(timeout=10)
        tap.equal((self.process.returncode, stderr), (0, ""), "exit status and stderr")
        tap.equal(os.listdir(self.directory), [], "files left")


@tap.test("a SIGKILL at any moment of its life leaves nothing that stops the next start", each=ACCELS, timeout=60)
def _(accel):
    seed = random.randrange(1 << 32)
    tap.diagnose(f"seed {seed}")
    moments = random.Random(seed)
    service = Service(accel)
    for _ in range(KILLS):
        service.start()
        time.sleep(moments.uniform(0, 0.06))
        service.process.send_signal(signal.SIGKILL)
        service.process.communicate()
    service.expect_life()


@tap.test("a SIGKILL when it is ready, and when it is stopping, leaves nothing either", each=ACCELS)
def _(accel):
    service = Service(accel)
    for moment in ("READY", "STOPPING"):
        manager = NotifySocket()
        service.start(manager)
        manager.wait_for("READY")
        if moment == "STOPPING":
            service.process.send_signal(signal.SIGTERM)
            manager.wait_for("STOPPING")
        service.process.send_signal(signal.SIGKILL)
        service.process.communicate()
        service.expect_life()


@tap.test("a life leaves no file behind, however often", each=ACCELS, timeout=180)
def _(accel):
    service = Service(accel)
    shared = sorted(os.listdir("/dev/shm"))
    for _ in range(CYCLES):
        service.expect_life()
    tap.equal(sorted(os.listdir("/dev/shm")), shared, "shared memory files")


if __name__ == "__main__":
    tap.main()
