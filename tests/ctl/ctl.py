"""What the tests of halcyonctl share."""

import os
import pathlib
import subprocess
import sys
import threading

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "qmp"))

import guests  # noqa: E402
import tap  # noqa: E402
from fixtures import BINARY, listening_socket, temporary_directory, write_file  # noqa: E402
from qmp_client import QmpClient  # noqa: E402

CTL = os.environ.get("HALCYONCTL", "halcyonctl")
SUCCESS, SERVER_ERROR, USAGE, NO_CONNECTION, TIMEOUT = range(5)


class Machine:
    """A machine called "web" on the soft accelerator, found by its name."""

    def __init__(self, *options, image=None):
        self.directory = temporary_directory()
        os.mkdir(os.path.join(self.directory, "halcyon"))
        self.socket = os.path.join(self.directory, "halcyon", "web.sock")
        bios = write_file("bios.bin", image or guests.spin(), self.directory)
        with open(os.path.join(self.directory, "stderr"), "wb") as stderr:
            self.process = subprocess.Popen(
                [BINARY, "-accel", "soft", "-m", "16", "-nodefaults", "-display", "none", "-name",
                 "web", "-bios", bios, "-qmp", f"unix:{self.socket},server=on,wait=off", *options],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr)
        tap.cleanup(self.kill)
        QmpClient.connect_when_listening(self.socket, 20.0, self.process).close()

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def gone(self):
        """Its exit status, once it has ended."""
        return self.process.wait(timeout=10)

    def run(self, *words, **keywords):
        """Exit status, output and errors of `halcyonctl web WORDS`."""
        return run("web", *words, environment={"HALCYON_RUNTIME_DIR": self.directory}, **keywords)

    def output(self, *words):
        """The output of a command that succeeds."""
        status, output, errors = self.run(*words)
        tap.equal((status, errors), (SUCCESS, ""), f"status and errors of {words}")
        return output

    def start(self, *words):
        """The program, running; killed at the end of the test if it still does."""
        process = subprocess.Popen(
            [CTL, "web", *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
            env={**clean_environment(), "HALCYON_RUNTIME_DIR": self.directory})
        tap.cleanup(lambda: end(process))
        return process


def end(process):
    process.kill()
    process.communicate()


def clean_environment():
    """Without what would change the program's behaviour."""
    left_out = ("HALCYON_RUNTIME_DIR", "HALCYON_STOP_TIMEOUT", "MAINPID", "SERVICE_RESULT")
    return {name: value for name, value in os.environ.items() if name not in left_out}


def run(*words, environment=None, stdin="", stdout=subprocess.PIPE):
    result = subprocess.run([CTL, *words], env={**clean_environment(), **(environment or {})},
                            input=stdin, stdout=stdout, stderr=subprocess.PIPE, text=True,
                            check=False, timeout=15)
    return result.returncode, result.stdout, result.stderr


GREETING = (b'{"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""}, '
            b'"capabilities": []}}\r\n')


def play(*script, greeting=GREETING):
    """A server of one client that sends `greeting`, then one of `script` for each line it reads (bytes,
    or a function of the line), then closes. Gives the socket's path."""
    path = os.path.join(temporary_directory(), "played.sock")
    listener = listening_socket(path)

    def serve():
        connection, _ = listener.accept()
        with connection, connection.makefile("rwb") as stream:
            try:
                stream.write(greeting)
                stream.flush()
                for answer in script:
                    line = stream.readline()
                    stream.write(answer(line) if callable(answer) else answer)
                    stream.flush()
            except OSError:
                pass  # the client has gone

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    tap.cleanup(lambda: thread.join(5))
    return path


def reply(text):
    """A server's answer to the line that is asked: `text` with the line's id."""
    def answer(line):
        number = line.rsplit(b'"id": ', 1)[1].split(b"}")[0].split(b",")[0]
        return text.encode().replace(b"ID", number) + b"\r\n"
    return answer


OK = reply('{"return": {}, "id": ID}')
