"""quit with a vCPU that does not leave: the reply is the documented error, in time, and the end still comes.

usage: liar_test.py HALCYOND_LIAR
"""

import os
import re
import signal
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "qmp"), os.path.join(HERE, "..", "service")]
import qmp_client as qmp  # noqa: E402  (the path has to be set first)
from notify import NotifySocket  # noqa: E402

BINARY = sys.argv[1]
QUIT_TIMEOUT = 0.5


class LyingDaemon(qmp.Daemon):
    """A daemon whose vCPUs stay until `release`; each of the first `alone` of them until it is released itself."""

    def __init__(self, *arguments, alone=0, environment=None, **keywords):
        self.scratch = tempfile.TemporaryDirectory(prefix="halcyon-liar-")
        self.fifo = os.path.join(self.scratch.name, "fifo")
        self.firmware = os.path.join(self.scratch.name, "firmware")
        for name in [self.fifo, *(f"{self.fifo}{vcpu}" for vcpu in range(alone))]:
            os.mkfifo(name)
        with open(self.firmware, "wb") as file:
            file.write(b"\xf4" * 65536)
        # The sandbox would keep vCPU threads from opening the FIFO.
        super().__init__(BINARY, "-accel", "liar", "-sandbox", "off", "-m", "16", "-bios", self.firmware,
                         "-quit-timeout", str(QUIT_TIMEOUT), *arguments,
                         environment={"HALCYON_LIAR_FIFO": self.fifo, **(environment or {})}, **keywords)

    def release(self, vcpu=""):
        """Lets every vCPU go that is not alone, or the one: each waits for a writer."""
        return os.open(f"{self.fifo}{vcpu}", os.O_RDWR)

    def wait_until_stuck(self, threads):
        """Waits until every thread is in the kernel, opening the FIFO."""
        deadline = time.monotonic() + qmp.DEFAULT_TIMEOUT
        for thread in threads:
            while True:
                with open(f"/proc/{self.pid}/task/{thread}/syscall", encoding="ascii") as file:
                    # openat on x86-64
                    if file.read().split()[0] == "257":
                        break
                qmp.expect_true(time.monotonic() < deadline, "a vCPU did not get stuck")
                time.sleep(0.001)

    def kill(self):
        super().kill()
        self.scratch.cleanup()


def vcpu_threads(client):
    return [cpu["thread-id"] for cpu in client.command("query-cpus-fast")]


def expect_documented_error(error, thread, elapsed):
    qmp.expect_equal(error.error_class, "GenericError")
    qmp.expect_true(re.search(r"\bvCPU 0\b", error.desc), f"names no vCPU: {error.desc}")
    qmp.expect_true(str(thread) in error.desc, f"names no thread: {error.desc}")
    # Where the thread is: the system call's number (openat) or the kernel's function.
    qmp.expect_true(re.search(r"257|fifo|wait", error.desc), f"does not say where: {error.desc}")
    qmp.expect_true(elapsed >= QUIT_TIMEOUT * 0.9, f"too early: {elapsed:.3f} s")
    qmp.expect_true(elapsed < QUIT_TIMEOUT + 2, f"too late: {elapsed:.3f} s")


def quit_that_fails(client):
    start = time.monotonic()
    try:
        reply = client.command("quit")
    except qmp.QmpError as error:
        return error, time.monotonic() - start
    raise AssertionError(f"quit claims success: {reply}")


def test_quit_names_the_vcpu_and_where_it_is():
    with LyingDaemon() as daemon:
        client = daemon.connect()
        thread, = vcpu_threads(client)
        daemon.wait_until_stuck([thread])
        error, elapsed = quit_that_fails(client)
        expect_documented_error(error, thread, elapsed)
        qmp.expect_true(daemon.process.poll() is None, "the process is gone")
        qmp.expect_true(thread in daemon.threads(), "the vCPU thread is gone")
        qmp.expect_equal(client.take_event_names(), [], "events before the end")


def test_the_process_ends_by_itself_when_the_vcpu_leaves():
    with LyingDaemon() as daemon:
        client = daemon.connect()
        daemon.wait_until_stuck(vcpu_threads(client))
        quit_that_fails(client)
        writer = daemon.release()
        shutdown = client.wait_event("SHUTDOWN")
        qmp.expect_equal(shutdown["data"], {"guest": False, "reason": "host-qmp-quit"})
        qmp.expect_equal(client.receive_until_closed(), [], "messages after SHUTDOWN")
        qmp.expect_equal(daemon.wait(), 0, "exit status")
        os.close(writer)


def test_a_second_quit_is_answered_too():
    with LyingDaemon() as daemon:
        client = daemon.connect()
        threads = vcpu_threads(client)
        daemon.wait_until_stuck(threads)
        quit_that_fails(client)
        error, elapsed = quit_that_fails(client)
        expect_documented_error(error, threads[0], elapsed)


def test_a_quit_that_waits_succeeds_when_the_vcpu_leaves_in_time():
    with LyingDaemon("-quit-timeout", "30") as daemon:
        client = daemon.connect()
        daemon.wait_until_stuck(vcpu_threads(client))
        client.send({"execute": "quit"})
        writer = daemon.release()
        qmp.expect_equal(client.receive_reply(), {"return": {}})
        qmp.expect_equal(client.take_event_names(), ["SHUTDOWN"])
        qmp.expect_equal(daemon.wait(), 0, "exit status")
        os.close(writer)


def test_all_monitors_that_asked_are_told():
    with LyingDaemon("-smp", "3", monitors=2) as daemon:
        first, second = daemon.connect(0), daemon.connect(1)
        daemon.wait_until_stuck(vcpu_threads(first))
        first.send({"execute": "quit", "id": "a"})
        second.send({"execute": "quit", "id": "b"})
        for client, request in ((first, "a"), (second, "b")):
            reply = client.receive_reply()
            qmp.expect_equal(reply["id"], request)
            qmp.expect_true("error" in reply, f"claims success: {reply}")


def test_a_signal_ends_it_once_the_vcpu_leaves():
    with LyingDaemon() as daemon:
        client = daemon.connect()
        daemon.wait_until_stuck(vcpu_threads(client))
        daemon.process.send_signal(signal.SIGTERM)
        daemon.process.send_signal(signal.SIGTERM)
        writer = daemon.release()
        shutdown = client.wait_event("SHUTDOWN")
        qmp.expect_equal(shutdown["data"]["reason"], "host-signal")
        qmp.expect_equal(daemon.wait(), 0, "exit status")
        os.close(writer)


def test_an_end_that_makes_progress_asks_the_service_manager_for_time():
    manager = NotifySocket()
    with LyingDaemon("-smp", "3", alone=3, environment=manager.environment) as daemon:
        daemon.wait_until_stuck(vcpu_threads(daemon.connect()))
        daemon.process.send_signal(signal.SIGTERM)
        manager.wait_for("STOPPING")
        writers = []
        for vcpu in (1, 0):
            writers.append(daemon.release(vcpu))
            message = manager.receive()
            qmp.expect_equal(message, {"EXTEND_TIMEOUT_USEC": "10000000"}, f"after vCPU {vcpu} has left")
        writers.append(daemon.release(2))
        qmp.expect_equal(daemon.wait(), 0, "exit status")
        for writer in writers:
            os.close(writer)
    manager.close()


def test_an_end_without_progress_asks_for_no_time():
    manager = NotifySocket()
    with LyingDaemon("-smp", "2", environment=manager.environment) as daemon:
        daemon.wait_until_stuck(vcpu_threads(daemon.connect()))
        daemon.process.send_signal(signal.SIGTERM)
        manager.wait_for("STOPPING")
        time.sleep(1.7)  # more than three looks
        writer = daemon.release()
        qmp.expect_equal(daemon.wait(), 0, "exit status")
        # The last vCPU's leaving is the end.
        qmp.expect_equal([message for message in manager.rest() if "EXTEND_TIMEOUT_USEC" in message], [], "messages")
        os.close(writer)
    manager.close()


if __name__ == "__main__":
    qmp.run_tests(qmp.collect_tests(globals()))
