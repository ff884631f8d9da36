#!/usr/bin/env python3
"""memsave, pmemsave and dump-guest-memory: what is in the files, and what happens meanwhile."""

import json
import os
import select
import socket
import struct
import threading

import guests
import tap
from fixtures import ACCELS, IS_QEMU, Vm, halcyond_only, read_file, start, temporary_directory

PT_LOAD, PT_NOTE = 1, 4
NT_PRSTATUS = 1


class Core:
    """An ELF64 core file."""

    def __init__(self, data):
        self.data = data
        (self.ident, self.type, self.machine, _, _, offset, _, _, _, size, count, _, _,
         _) = struct.unpack_from("<16sHHIQQQIHHHHHH", data)
        self.segments = [struct.unpack_from("<IIQQQQQQ", data, offset + size * index)
                         for index in range(count)]

    def blocks(self):
        """{physical address: bytes}"""
        return {physical: self.data[offset:offset + length]
                for kind, _, offset, _, physical, length, _, _ in self.segments if kind == PT_LOAD}

    def notes(self):
        """(name, type, contents) of each."""
        [(_, _, offset, _, _, length, _, _)] = [segment for segment in self.segments
                                                if segment[0] == PT_NOTE]
        end, found = offset + length, []
        while offset < end:
            name_size, size, kind = struct.unpack_from("<III", self.data, offset)
            offset += 12
            name = self.data[offset:offset + name_size].rstrip(b"\0").decode()
            offset += (name_size + 3) & ~3
            found.append((name, kind, self.data[offset:offset + size]))
            offset += (size + 3) & ~3
        return found


def error_of(client, command, **arguments):
    error = client.execute(command, {name.replace("_", "-"): value
                                     for name, value in arguments.items()}).get("error", {})
    return error.get("class"), error.get("desc")


def dump(client, path, **arguments):
    client.command("dump-guest-memory", paging=False, protocol=f"file:{path}", **arguments)


def file_in_directory():
    return os.path.join(temporary_directory(), "file")


@tap.test("pmemsave: the firmware at the top of 4 GiB, and its copy below 1 MiB", each=ACCELS)
def _(accel):
    image = guests.spin()
    _, client = start(accel, image)
    path = file_in_directory()
    for address in (0xFFFF0000, 0xF0000):
        client.command("pmemsave", val=address, size=0x10000, filename=path)
        tap.equal(read_file(path) == image, True, f"the firmware at {address:#x}")


@tap.test("pmemsave: holes are zeroes, any length and offset goes", each=["soft"])
def _(accel):
    _, client = start(accel, guests.spin(), "-S")
    path = file_in_directory()
    client.command("pmemsave", val=0xFFFEFFF0, size=0x20, filename=path)
    tap.equal(read_file(path), bytes(16) + guests.spin()[:16], "a hole, then the firmware")
    client.command("pmemsave", val=16 << 20, size=3_000_001, filename=path)
    tap.equal(read_file(path) == bytes(3_000_001), True, "behind the RAM")
    client.command("pmemsave", val=0, size=0, filename=path)
    tap.equal(read_file(path), b"", "no byte at all")


@tap.test("memsave without paging goes by physical addresses", each=ACCELS)
def _(accel):
    image = guests.spin()
    _, client = start(accel, image)
    path = file_in_directory()
    client.command("memsave", val=0xFFFFFF00, size=0x100, filename=path)
    tap.equal(read_file(path), image[-0x100:], "the reset vector")
    tap.equal(client.command("query-status")["status"], "running", "status")
    tap.equal(client.take_event_names(), [], "events: parking for the registers is nobody's business")


@tap.test("memsave with paging goes by the vCPU's page tables", each=ACCELS)
def _(accel):
    if accel == "soft" and not IS_QEMU:
        tap.skip("the interpreter has no paging")
    _, client = start(accel, guests.pages())
    path = file_in_directory()

    def mapped():
        reply = client.execute("memsave", {"val": 0x400000, "size": 4, "filename": path})
        return "return" in reply and read_file(path) == b"HALC"

    tap.wait_until(mapped, "the page that the guest has mapped at 4 MiB")
    client.command("memsave", val=0x3FFFFE, size=4, filename=path)
    tap.equal(read_file(path)[2:], b"HA", "across the border of two pages")
    tap.equal(error_of(client, "memsave", val=0x800000, size=4, filename=path),
              ("GenericError", "Invalid addr 0x0000000000800000/size 4 specified"),
              "a page that is not present")


@tap.test("memsave and pmemsave refuse what QEMU refuses, in its words",
          each=[(f"{command}, {what}", (command, what)) for command in ("memsave", "pmemsave")
                for what in ("path", "missing")])
def _(case):
    command, what = case
    _, client = start("soft", guests.spin(), "-S")
    if what == "path":
        tap.equal(error_of(client, command, val=0, size=16, filename="/nonexistent/file"),
                  ("GenericError",
                   "Could not open '/nonexistent/file': No such file or directory"), "error")
    else:
        tap.equal(error_of(client, command, val=0, size=16),
                  ("GenericError", "Parameter 'filename' is missing"), "error")


@tap.test("memsave of a vCPU that is not there", each=["1", "99", "-1"])
def _(index):
    _, client = start("soft", guests.spin(), "-S")
    tap.equal(error_of(client, "memsave", val=0, size=16, filename=file_in_directory(),
                       cpu_index=int(index)),
              ("GenericError", "Parameter 'cpu-index' expects a CPU number"), "error")


@tap.test("memsave of addresses that are nowhere", each=["-1", "0x7fffffffffff0000"])
def _(address):
    _, client = start("soft", guests.spin(), "-S")
    value = int(address, 0)
    tap.equal(error_of(client, "memsave", val=value, size=16, filename=file_in_directory()),
              ("GenericError",
               f"Invalid addr {value & (1 << 64) - 1:#018x}/size 16 specified"), "error")


@tap.test("a negative size and a full disk are errors", each=["memsave", "pmemsave"])
def _(command):
    halcyond_only()  # QEMU aborts at the first, and does not notice the second
    _, client = start("soft", guests.spin(), "-S")
    tap.equal(error_of(client, command, val=0, size=-1, filename=file_in_directory()),
              ("GenericError", "Parameter 'size' expects a non-negative value"), "negative")
    tap.equal(error_of(client, command, val=0, size=16, filename="/dev/full"),
              ("GenericError", "An IO error has occurred: No space left on device"), "full")


@tap.test("dump-guest-memory: STOP, DUMP_COMPLETED, RESUME, then the reply", each=ACCELS)
def _(accel):
    _, client = start(accel, guests.spin())
    path = file_in_directory()
    dump(client, path)
    events = [(event["event"], event.get("data")) for event in client.events]
    tap.equal([name for name, _ in events], ["STOP", "DUMP_COMPLETED", "RESUME"], "events")
    result = client.command("query-dump")
    tap.equal((result["status"], result["completed"]), ("completed", result["total"]),
              "query-dump")
    tap.equal(events[1][1], {"result": result}, "data of DUMP_COMPLETED")
    tap.equal(client.command("query-status")["status"], "running", "status")
    tap.equal(sum(len(block) for block in Core(read_file(path)).blocks().values()),
              result["total"], "bytes of memory in the file")


@tap.test("dump-guest-memory of a stopped guest leaves it stopped", each=ACCELS)
def _(accel):
    _, client = start(accel, guests.spin(), "-S")
    dump(client, file_in_directory())
    tap.equal(client.take_event_names(), ["DUMP_COMPLETED"], "events")
    tap.equal(client.command("query-status")["status"], "prelaunch", "status")


@tap.test("the file: an ELF core with the memory the guest sees and its registers", each=ACCELS)
def _(accel):
    image = guests.spin()
    _, client = start(accel, image, "-smp", "2", "-S")
    path = file_in_directory()
    dump(client, path)
    core = Core(read_file(path))
    tap.equal(core.ident, b"\x7fELF\x02\x01\x01" + bytes(9), "identification")
    tap.equal((core.type, core.machine), (4, 3), "type and machine: a core of an i386")
    blocks = core.blocks()
    tap.equal(len(blocks[0x100000]), 15 << 20, "the RAM above 1 MiB")
    tap.equal(min(blocks), 0, "where the RAM begins")
    tap.equal(blocks[0xFFFF0000] == image, True, "the firmware")
    notes = core.notes()
    tap.equal([(name, kind) for name, kind, _ in notes],
              [("CORE", NT_PRSTATUS)] * 2 + [("QEMU", 0)] * 2, "notes")
    tap.equal([len(contents) for _, _, contents in notes[:2]], [144, 144], "size of a prstatus")
    state = notes[2][2]
    tap.equal(struct.unpack_from("<I", state), (1,), "version of the state")
    rip, rflags = struct.unpack_from("<QQ", state, 8 + 16 * 8)
    selector, _, _, _, base = struct.unpack_from("<IIIIQ", state, 8 + 18 * 8)
    tap.equal((rip, rflags, selector, base), (0xFFF0, 2, 0xF000, 0xFFFF0000),
              "rip, rflags, cs after power-on")


@tap.test("begin and length cut out a piece", each=["soft"])
def _(accel):
    image = guests.spin()
    _, client = start(accel, image, "-S")
    path = file_in_directory()
    dump(client, path, begin=0xFFFF0010, length=0x20)
    tap.equal(Core(read_file(path)).blocks(), {0xFFFF0010: image[0x10:0x30]}, "blocks")
    tap.equal(client.command("query-dump"), {"status": "completed", "completed": 32, "total": 32},
              "query-dump")
    dump(client, path, begin=0x9FFF6, length=0x20)
    tap.equal(sum(len(block) for block in Core(read_file(path)).blocks().values()) <= 0x20, True,
              "a piece with a hole in it")


@tap.test("dump-guest-memory refuses what QEMU refuses, in its words", each=[
    ("protocol", {"protocol": "foo:/tmp/x"}), ("path", {"protocol": "file:/nonexistent/file"}),
    ("no path", {"protocol": "file:"}), ("descriptor", {"protocol": "fd:nobody"}),
    ("no length", {"begin": 0}), ("no begin", {"length": 4096}),
    ("empty", {"begin": 0, "length": 0}), ("negative", {"begin": -1, "length": 4096}),
    ("nowhere", {"begin": 1 << 40, "length": 4096}), ("lzo", {"format": "kdump-lzo"}),
    ("snappy", {"format": "kdump-snappy"}),
    ("kdump and paging", {"format": "kdump-zlib", "paging": True}),
    ("kdump and a range", {"format": "kdump-zlib", "begin": 0, "length": 4096})])
def _(change):
    texts = {
        "foo:/tmp/x": "Invalid parameter 'protocol'",
        "file:/nonexistent/file": "Could not open '/nonexistent/file': No such file or directory",
        "file:": "Could not open '': No such file or directory",
        "fd:nobody": "File descriptor named 'nobody' has not been found",
        (0, None): "Parameter 'length' is missing", (None, 4096): "Parameter 'begin' is missing",
        (0, 0): "Invalid parameter 'length'", (-1, 4096): "Invalid parameter 'begin'",
        (1 << 40, 4096): "dump: no guest memory to dump",
        "kdump-lzo": "kdump-lzo is not available now",
        "kdump-snappy": "kdump-snappy is not available now",
        "kdump-zlib": "kdump-compressed format doesn't support paging or filter"}
    _, client = start("soft", guests.spin(), "-S")
    arguments = {"paging": False, "protocol": f"file:{file_in_directory()}", **change}
    key = change.get("format", change.get("protocol", (change.get("begin"), change.get("length"))))
    tap.equal(error_of(client, "dump-guest-memory", **arguments), ("GenericError", texts[key]),
              "error")
    tap.equal(client.take_event_names(), [], "events")
    if not IS_QEMU:  # some of these have failed there after they began
        tap.equal(client.command("query-dump")["status"], "none", "query-dump")


@tap.test("a refused dump stops no guest")
def _():
    halcyond_only()
    _, client = start("soft", guests.spin())
    for change in ({"protocol": "file:/nonexistent/file"}, {"begin": 1 << 40, "length": 1},
                   {"paging": True}, {"format": "win-dmp"}):
        arguments = {"paging": False, "protocol": f"file:{file_in_directory()}", **change}
        tap.equal(error_of(client, "dump-guest-memory", **arguments)[0], "GenericError",
                  f"{change}")
    tap.equal(client.take_event_names(), [], "events")


@tap.test("a full disk: DUMP_COMPLETED tells of it, the guest runs on", each=ACCELS)
def _(accel):
    _, client = start(accel, guests.spin())
    text = "dump: failed to write elf header: No space left on device"
    tap.equal(error_of(client, "dump-guest-memory", paging=False, protocol="file:/dev/full"),
              ("GenericError", text), "error")
    tap.equal([event["event"] for event in client.events], ["STOP", "DUMP_COMPLETED", "RESUME"],
              "events")
    data = client.events[1]["data"]
    tap.equal((data["error"], data["result"]["status"], data["result"]["completed"]),
              (text, "failed", 0), "data of DUMP_COMPLETED")
    tap.equal(client.command("query-dump"), data["result"], "query-dump")


def start_slow_dump(*extra, **arguments):
    """A dump into a pipe that nobody empties yet: the VM, its client, the pipe's other end."""
    vm, client = start("soft", guests.spin(), *extra)
    path = os.path.join(temporary_directory(), "pipe")
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    tap.cleanup(lambda: os.close(reader))
    os.set_blocking(reader, True)
    client.send({"execute": "dump-guest-memory", "id": "dump",
                 "arguments": {"paging": False, "protocol": f"file:{path}", **arguments}})
    return vm, client, reader


def empty_in_background(reader, sink):
    def work():
        while data := os.read(reader, 1 << 20):
            sink.append(data)

    thread = threading.Thread(target=work)
    thread.start()
    tap.cleanup(thread.join)
    return thread


@tap.test("a detached dump: the reply at once, save-vm, progress, and the end")
def _():
    halcyond_only()  # QEMU's main loop would wait for the pipe
    _, client, reader = start_slow_dump(detach=True)
    tap.equal(client.receive_reply()["return"], {}, "reply")
    tap.equal(client.take_event_names(), ["STOP"], "events before the reply")
    tap.equal(client.command("query-status"),
              {"status": "save-vm", "running": False, "singlestep": False}, "query-status")
    progress = client.command("query-dump")
    tap.equal(progress["status"], "active", "query-dump")
    tap.equal(progress["completed"] < progress["total"], True, "progress")
    busy = ("GenericError", "There is a dump in process, please wait.")
    for command in ("stop", "cont", "system_reset"):
        tap.equal(error_of(client, command), busy, command)
    tap.equal(error_of(client, "dump-guest-memory", paging=False, protocol="file:/dev/null"), busy,
              "another dump")
    path = file_in_directory()
    client.command("memsave", val=0xFFFFFFF0, size=3, filename=path)
    tap.equal(read_file(path), guests.spin()[-16:-13], "memsave meanwhile")
    sink = []
    thread = empty_in_background(reader, sink)
    tap.equal(client.wait_event("DUMP_COMPLETED")["data"]["result"]["status"], "completed",
              "DUMP_COMPLETED")
    client.wait_event("RESUME")
    thread.join()
    blocks = Core(b"".join(sink)).blocks()
    tap.equal(sum(len(block) for block in blocks.values()), progress["total"], "bytes of memory")
    tap.equal(client.command("query-status")["status"], "running", "status afterwards")


@tap.test("x-exit-preconfig is refused at once during a dump, and quit is answered behind it")
def _():
    halcyond_only()
    vm, client, _ = start_slow_dump(detach=True)
    client.receive_reply()
    tap.equal(error_of(client, "x-exit-preconfig"),
              ("GenericError", "The command is permitted only before machine initialization"), "error")
    tap.equal(client.command("quit"), {}, "reply")
    vm.expect_exit(0)


@tap.test("during a dump that is not detached another monitor is served")
def _():
    halcyond_only()
    vm = Vm("soft", guests.spin(), monitors=2)
    first, second = vm.connect(0), vm.connect(1)
    path = os.path.join(temporary_directory(), "pipe")
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    tap.cleanup(lambda: os.close(reader))
    os.set_blocking(reader, True)
    first.send({"execute": "dump-guest-memory",
                "arguments": {"paging": False, "protocol": f"file:{path}"}})
    second.wait_event("STOP")
    for _ in range(3):
        tap.equal(second.command("query-dump")["status"], "active", "query-dump")
    tap.equal([first.receive()["event"], first.has_input()], ["STOP", False], "no reply yet")
    empty_in_background(reader, [])
    tap.equal(first.receive_reply(), {"return": {}}, "reply")


FILE_COMMANDS = [("memsave", {"val": 0xFFFFF000, "size": 4096, "filename": "{}"}),
                 ("pmemsave", {"val": 0, "size": 4096, "filename": "{}"}),
                 ("dump-guest-memory", {"paging": False, "begin": 0, "length": 4096,
                                        "protocol": "file:{}"})]


def start_without_reader(row):
    """The row's command writes to a pipe that nobody reads: the VM, its client, the pipe."""
    command, arguments = row
    vm, client = start("soft", guests.spin(), "-S", monitors=2)
    path = os.path.join(temporary_directory(), "pipe")
    os.mkfifo(path)
    arguments = {name: value.format(path) if isinstance(value, str) else value
                 for name, value in arguments.items()}
    client.send({"execute": command, "arguments": arguments})
    tap.equal(select.select([client.socket], [], [], 0.2)[0], [], "no reply without a reader")
    return vm, client, path


@tap.test("a pipe without a reader is waited for", each=[(row[0], row) for row in FILE_COMMANDS])
def _(row):
    _, client, path = start_without_reader(row)
    with open(path, "rb") as file:
        size = len(file.read())
    tap.equal(size >= 4096, True, "bytes read")
    tap.equal(client.receive_reply(), {"return": {}}, "reply")


@tap.test("quit overtakes a wait for a reader", each=[(row[0], row) for row in FILE_COMMANDS])
def _(row):
    halcyond_only()
    vm, _, _ = start_without_reader(row)
    tap.equal(vm.connect(1).command("quit"), {}, "reply")
    vm.expect_exit(0)


@tap.test("a reader that goes away is an error, not a signal")
def _():
    halcyond_only()
    vm, client, reader = start_slow_dump()
    client.wait_event("STOP")
    os.dup2(os.open("/dev/null", os.O_RDONLY), reader)
    reply = client.receive_reply()
    tap.equal(reply["error"]["desc"].endswith(": Broken pipe"), True, f"error: {reply}")
    tap.equal(client.command("query-status")["status"], "running", "status")
    tap.equal(vm.alive(), True, "the process lives")


@tap.test("quit overtakes a dump whose file takes nothing", each=["detached", "waiting"])
def _(how):
    halcyond_only()
    vm, client, _ = start_slow_dump(detach=how == "detached")
    client.wait_event("STOP")
    if how == "waiting":
        # Its monitor reads on when the dump has been answered; a signal needs no monitor.
        os.kill(vm.pid, 15)
    else:
        client.receive_reply()
        client.send({"execute": "quit"})
    messages = client.receive_until_closed(10)
    tap.equal([message["event"] for message in messages if "event" in message], ["SHUTDOWN"],
              "events")
    vm.expect_exit(0)


@tap.test("a dump into a descriptor that was passed", each=["name", "set"])
def _(how):
    _, client = start("soft", guests.spin(), "-S")
    path = file_in_directory()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    tap.cleanup(lambda: os.close(descriptor))
    command = ({"execute": "getfd", "arguments": {"fdname": "core"}} if how == "name" else
               {"execute": "add-fd", "arguments": {"fdset-id": 3}})
    socket.send_fds(client.socket, [json.dumps(command).encode()], [descriptor])
    tap.equal("return" in client.receive_reply(), True, "the descriptor was taken")
    protocol = "fd:core" if how == "name" else "file:/dev/fdset/3"
    client.command("dump-guest-memory", paging=False, protocol=protocol)
    tap.equal(Core(read_file(path)).ident[:4], b"\x7fELF", "what the file begins with")


@tap.test("query-dump-guest-memory-capability has elf")
def _():
    _, client = start("soft", guests.spin(), "-S")
    formats = client.command("query-dump-guest-memory-capability")["formats"]
    tap.equal("elf" in formats, True, f"formats: {formats}")


@tap.test("a hundred dumps and memsaves of a running guest", each=ACCELS, timeout=60)
def _(accel):
    halcyond_only()
    vm, client = start(accel, guests.on_all_vcpus("mix"), "-smp", "2")
    path = file_in_directory()
    for _ in range(100):
        dump(client, path, begin=0, length=4096)
        client.command("memsave", val=0xFFFF0000, size=16, filename=path)
    tap.equal(client.take_event_names(), ["STOP", "DUMP_COMPLETED", "RESUME"] * 100, "events")
    stats = client.command("__org.halcyon_query-vcpu-stats")
    tap.equal([vcpu["rekicks"] for vcpu in stats], [0, 0], "re-kicks")
    tap.equal(sorted(set(vm.daemon.threads().values()) & {"dump", "memsave"}), [],
              "threads that are left")


if __name__ == "__main__":
    tap.main()
