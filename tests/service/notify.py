"""The other end of NOTIFY_SOCKET (sd_notify(3)): a double of the service manager's, which records."""

import os
import re
import shutil
import socket
import struct
import tempfile

import tap


SINCE = r"(.*?)(?:, since (\w{3} \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \w+))?((?:; .*)?)"


class NotifySocket:
    """Receives what a service tells its manager. Messages keep their order."""

    def __init__(self, abstract=False):
        self.directory = tempfile.mkdtemp(prefix="halcyon-notify-")
        path = os.path.join(self.directory, "notify.sock")
        self.address = "@" + path if abstract else path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.socket.bind("\0" + path if abstract else path)
        tap.cleanup(self.close)
        self.sender = None
        self.since = None

    def close(self):
        self.socket.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def environment(self):
        return {"NOTIFY_SOCKET": self.address}

    def receive(self, timeout=10.0):
        """The next message as {variable: value}, where STATUS is without the time that the state
        began; that is then in `since`, and in `sender` who sent it."""
        self.socket.settimeout(timeout)
        data, control, _, _ = self.socket.recvmsg(65536, socket.CMSG_SPACE(12))
        for level, kind, value in control:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                self.sender, _, _ = struct.unpack("3i", value)
        message = dict(line.split("=", 1) for line in data.decode().splitlines())
        if "STATUS" in message:
            before, since, problem = re.fullmatch(SINCE, message["STATUS"]).groups()
            message["STATUS"] = before + problem
            self.since = since
        return message

    def wait_for(self, variable, value=None, timeout=10.0):
        """Receives until a message assigns `variable` (that value); gives that message."""
        while True:
            message = self.receive(timeout)
            if variable in message and value in (None, message[variable]):
                return message

    def rest(self):
        """What waits already: everything, once the service is gone."""
        messages = []
        while True:
            try:
                messages.append(self.receive(0.0))
            except BlockingIOError:
                return messages
