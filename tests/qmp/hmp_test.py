#!/usr/bin/env python3
"""human-monitor-command: QEMU's words and shapes, and that they tell of the machine as it is."""

import re

import guests
import tap
from fixtures import ACCELS, BINARY, IS_QEMU, halcyond_only, start
from qmp_client import Daemon


def start_paused(*extra, accel="soft", image=None):
    return start(accel, image or guests.spin(), "-S", *extra)[1]


def hmp(client, line, **arguments):
    return client.command("human-monitor-command", command_line=line, **arguments)


def lines(client, line, **arguments):
    text = hmp(client, line, **arguments)
    tap.equal(text == "" or text.endswith("\r\n"), True, f"{text!r} ends a line")
    return text.split("\r\n")[:-1]


def misuse(text, name):
    return f'{text}\r\nTry "help {name}" for more information\r\n'


@tap.test("unknown commands")
def _():
    client = start_paused()
    for line, name in (("foo", "foo"), ("foo bar", "foo"), ("quitx", "quitx"),
                       ("info foo", "info foo"), ("help foo", "foo")):
        tap.equal(hmp(client, line), f"unknown command: '{name}'\r\n", line)
    tap.equal(hmp(client, ""), "", "nothing")
    tap.equal(hmp(client, "   "), "", "spaces")


@tap.test("misuse is told with where there is help")
def _():
    client = start_paused()
    for line, text, name in (
            ("stop x", "stop|s: extraneous characters at the end of line", "stop"),
            ("s x", "stop|s: extraneous characters at the end of line", "s"),
            ("info status x", "status: extraneous characters at the end of line", "info status"),
            ("x", "unexpected end of expression", "x"),
            ("xp/4xb", "unexpected end of expression", "xp"),
            ("x/s 0", "invalid char in format: 's'", "x"),
            ("x 1 2", "x: extraneous characters at the end of line", "x"),
            ("x zz", "invalid char 'z' in expression", "x"),
            ("x $foo", "unknown register", "x"),
            ("print 1/0", "division by zero", "print"),
            ("print (1", "')' expected", "print"),
            ("info registers x", "invalid char 'x' in expression", "info registers"),
            ("info registers -z", "registers: unsupported option -z", "info registers")):
        tap.equal(hmp(client, line), misuse(text, name), line)


@tap.test("help lists what there is")
def _():
    client = start_paused()
    tap.equal(hmp(client, "help stop"), "stop|s  -- stop emulation\r\n", "one command")
    tap.equal(hmp(client, "? xp"),
              "xp /fmt addr -- physical memory dump starting at 'addr'\r\n", "with arguments")
    tap.equal(hmp(client, "help info status"),
              "info status  -- show the current VM status (running|paused)\r\n", "a subcommand")
    names = [line.split()[0] for line in lines(client, "help") if not line.startswith(("\t", "["))]
    for name in ("cont|c", "info", "quit|q", "stop|s", "system_reset", "x", "xp"):
        tap.equal(name in names, True, name)
    tap.equal(names, sorted(names, key=str.lower), "sorted") if not IS_QEMU else None
    tap.equal(all(line.startswith("info ") for line in lines(client, "info")), True, "info")


@tap.test("info status follows the machine")
def _():
    client = start_paused()
    tap.equal(hmp(client, "info status"), "VM status: paused (prelaunch)\r\n", "-S")
    tap.equal(hmp(client, "cont"), "", "cont")
    tap.equal(hmp(client, "  info   status  "), "VM status: running\r\n", "running")
    tap.equal(hmp(client, "stop"), "", "stop")
    tap.equal(hmp(client, "info status"), "VM status: paused\r\n", "paused")
    tap.equal(client.command("query-status")["status"], "paused", "query-status")
    tap.equal(hmp(client, "system_reset"), "", "system_reset")
    tap.equal(hmp(client, "c"), "", "the short name")
    tap.equal(client.take_event_names(), ["RESUME", "STOP", "RESET", "RESUME"], "events")


@tap.test("info cpus, by cpu-index")
def _():
    client = start_paused("-smp", "2")
    threads = [cpu["thread-id"] for cpu in client.command("query-cpus-fast")]
    tap.equal(lines(client, "info cpus"),
              [f"* CPU #0: thread_id={threads[0]}", f"  CPU #1: thread_id={threads[1]}"], "cpus")
    tap.equal(lines(client, "info cpus", cpu_index=1)[1][0], "*", "cpu-index")
    error = client.execute("human-monitor-command",
                           {"command-line": "info version", "cpu-index": 2})["error"]
    tap.equal((error["class"], error["desc"]),
              ("GenericError", "Parameter 'cpu-index' expects a CPU number"), "no such vCPU")
    tap.equal((hmp(client, "cpu 1"), hmp(client, "cpu 2")), ("", "invalid CPU index\r\n"), "cpu")


@tap.test("info name, uuid, kvm, chardev, block, memory_size_summary")
def _():
    uuid = "550e8400-e29b-41d4-a716-446655440000"
    client = start_paused("-name", "web-1", "-uuid", uuid, "-chardev", "null,id=n")
    tap.equal(hmp(client, "info name"), "web-1\r\n", "name")
    tap.equal(hmp(client, "info uuid"), uuid + "\r\n", "uuid")
    tap.equal(hmp(client, "info kvm"), "kvm support: disabled\r\n", "kvm")
    tap.equal(hmp(client, "info block"), "", "block")
    tap.equal("n: filename=null" in lines(client, "info chardev"), True, "chardev")
    tap.equal(lines(client, "info memory_size_summary"),
              ["base memory: 16777216", "plugged memory: 0"], "memory")
    tap.equal(hmp(client, "info version").startswith("7.2."), True, "version")


@tap.test("info pci: QEMU's lines for the same functions")
def _():
    text = lines(start_paused(), "info pci")
    at = text.index("  Bus  0, device   1, function 3:")
    tap.equal(text[at + 1:at + 3],
              ["    Bridge: PCI device 8086:7113", "      PCI subsystem 1af4:1100"], "PIIX4")
    tap.equal(text[:4], ["  Bus  0, device   0, function 0:",
                         "    Host bridge: PCI device 8086:1237",
                         "      PCI subsystem 1af4:1100", '      id ""'], "i440FX")


REGISTERS = ["EAX=", "ESI=", "EIP=", "ES =", "CS =", "SS =", "DS =", "FS =", "GS =", "LDT=", "TR =",
             "GDT=", "IDT=", "CR0=", "EFER="]


@tap.test("info registers after reset", each=ACCELS)
def _(accel):
    client = start_paused("-smp", "2", accel=accel)
    text = lines(client, "info registers")
    tap.equal(text[:2], ["", "CPU#0"], "heading")
    starts = [line[:4] if not line.startswith("EFER") else "EFER=" for line in text[2:]
              if not line.startswith(("DR", "FCW", "FPR", "XMM"))]
    tap.equal(starts, REGISTERS, "lines")
    found = dict(re.findall(r"(\w+) *=(?: +)?([0-9a-f]+)", "\n".join(text)))
    tap.equal((found["EIP"], found["EFL"], found["CS"]), ("0000fff0", "00000002", "f000"), "values")
    tap.equal("CS =f000 ffff0000 0000ffff 00009b00" in text, True, f"CS of {text}")
    for line, options in (("info registers 1", {}), ("info registers", {"cpu_index": 1})):
        tap.equal(lines(client, line, **options)[1], "CPU#1", line)
    headings = [line for line in lines(client, "info registers -a") if line.startswith("CPU#")]
    tap.equal(headings, ["CPU#0", "CPU#1"], "-a")
    tap.equal(hmp(client, "info registers 7"), "CPU#7 not available\r\n", "no such vCPU")


def counting_guest():
    """Counts in EBX, for ever."""
    return guests.image(guests.Code(guests.ENTRY).raw("6631DB").label("l").raw("6643")
                        .short(0xEB, "l").finish())


@tap.test("registers of a running guest are live, and nobody is told that it was halted",
          each=ACCELS)
def _(accel):
    client = start(accel, counting_guest(), "-smp", "2")[1]

    def count():
        return int(re.search(r"EBX=([0-9a-f]{8})", hmp(client, "info registers")).group(1), 16)

    first = count()
    tap.wait_until(lambda: count() != first, "EBX counts")
    tap.equal(client.command("query-status")["status"], "running", "status")
    tap.equal([name for name in client.take_event_names() if name in ("STOP", "RESUME")], [],
              "events")


@tap.test("x and xp show memory, RAM and firmware", each=ACCELS)
def _(accel):
    client = start_paused(accel=accel)
    reset = bytes.fromhex("e9") + ((guests.ENTRY - 0xFFF3) & 0xFFFF).to_bytes(2, "little")
    tap.equal(lines(client, "xp /3xb 0xfffffff0"),
              ["00000000fffffff0: " + " ".join(f"0x{byte:02x}" for byte in reset)], "firmware")
    tap.equal(lines(client, "x/1xb $cs.base+$eip") if not IS_QEMU else
              lines(client, "x/1xb 0xfffffff0"), ["00000000fffffff0: 0xe9"], "by registers")
    tap.equal(lines(client, "xp/4xw 0x1000"),
              ["0000000000001000: 0x00000000 0x00000000 0x00000000 0x00000000"], "RAM")
    tap.equal(lines(client, "xp/9xb 0"),
              ["0000000000000000: 0x00 0x00 0x00 0x00 0x00 0x00 0x00 0x00",
               "0000000000000008: 0x00"], "lines")
    for command in ("x", "xp"):
        tap.equal(lines(client, f"{command}/1xw 0xe0000000"),
                  ["00000000e0000000: Cannot access memory"], "a hole")
    tap.equal(lines(client, "xp/1xb -1"), ["ffffffffffffffff: Cannot access memory"], "the end")


@tap.test("x/i shows instructions, as the code segment has them", each=ACCELS)
def _(accel):
    client = start_paused(accel=accel)
    shown = lines(client, "x /2i $pc") if not IS_QEMU else lines(client, "x /2i 0xfffffff0")
    tap.equal(shown[0].split(":")[0], "0xfffffff0", "address")
    tap.equal("jmp" in shown[0], True, shown[0])
    tap.equal(len(shown), 2, "lines")
    tap.equal(lines(client, "xp /1i 0xe0000000"), ["0xe0000000: unable to read memory"], "a hole")


@tap.test("x and xp go by the format before, but for its count", each=["x", "xp"])
def _(command):
    client = start_paused()
    first = lines(client, f"{command} /3hb 0xfffffff0")[0]
    tap.equal(lines(client, f"{command} 0xfffffff0"), [first[:len("0123456789abcdef: 0x00")]],
              "the next")
    tap.equal(len(lines(client, f"{command} /2wx 0xfffffff0")[0].split()), 3, "words")


@tap.test("print shares its format with x and xp", each=["x", "xp"])
def _(command):
    client = start_paused()
    tap.equal(lines(client, "p 10"), ["0xa"], "at first")
    lines(client, f"{command} /1o 0")
    tap.equal(lines(client, "p 8"), ["010"], "after octal memory")
    tap.equal(lines(client, "p /c 65"), ["'A'"], "a character")
    tap.equal(lines(client, "p 65"), ["'A'"], "the next")
    lines(client, "p /xw 0")
    tap.equal(len(lines(client, f"{command} 0")[0]), len("0123456789abcdef: 0x01234567"), "memory")
    lines(client, f"{command} /1i 0xfffffff0")
    tap.equal(lines(client, "p -65"), ["-65"], "after instructions")


@tap.test("memory that a running guest writes is seen", each=ACCELS)
def _(accel):
    code = guests.Code(guests.ENTRY)
    # ds:[1234h] counts: xor ax, ax; mov ds, ax; inc word [1234h]
    code.raw("31C0 8ED8").label("l").raw("FF063412").short(0xEB, "l")
    client = start(accel, guests.image(code.finish()))[1]
    for command in ("x", "xp"):
        tap.wait_until(lambda: lines(client, f"{command}/1uh 0x1234")[0].split()[1] != "0",
                       "the guest has counted")


@tap.test("print evaluates")
def _():
    client = start_paused()
    for line, shown in (("print/x 1+2", "0x3"), ("p/d -1", "-1"), ("p/o 8", "010"),
                        ("p/u -1", "18446744073709551615"), ("p/c 65", "'A'"), ("p/x 0", "0"),
                        ("print/x $eip", "0xfff0"), ("print/x 1+2&2", "0x3"),
                        ("print/x $cs.base", "0xffff0000")):
        tap.equal(hmp(client, line), shown + "\r\n", line)


@tap.test("gva2gpa without paging")
def _():
    tap.equal(hmp(start_paused(), "gva2gpa 0x1234"), "gpa: 0x1234\r\n", "address")


@tap.test("info mtree shows both address spaces")
def _():
    text = lines(start_paused("-serial", "null"), "info mtree")
    spaces = [line for line in text if line.startswith("address-space: ")]
    tap.equal({"address-space: I/O", "address-space: memory"} <= set(spaces), True, f"{spaces}")
    for line in ("  0000000000000000-000000000000ffff (prio 0, i/o): io",
                 "    00000000000003f8-00000000000003ff (prio 0, i/o): serial",
                 "    00000000fec00000-00000000fec00fff (prio 0, i/o): ioapic"):
        tap.equal(any(found.startswith(line) for found in text), True, line)


@tap.test("info qtree shows devices by bus")
def _():
    text = lines(start_paused("-chardev", "null,id=n", "-serial", "chardev:n"), "info qtree")
    tap.equal(text[:2], ["bus: main-system-bus", "  type System"], "the system's bus")
    at = text.index('          dev: isa-serial, id ""')
    tap.equal(text[at + 1:at + 4], ["            index = 0 (0x0)",
                                    "            iobase = 1016 (0x3f8)",
                                    "            irq = 4 (0x4)"], "a serial port")
    for line in ('  dev: i440FX-pcihost, id ""', "    bus: pci.0", '      dev: PIIX3, id ""',
                 "        addr = 01.0", "        multifunction = true", "        bus: isa.0"):
        tap.equal(line in text, True, line)


@tap.test("info qom-tree shows the objects")
def _():
    client = start_paused()
    text = lines(client, "info qom-tree")
    tap.equal(text[0][:9], "/machine ", "top")
    tap.equal("    /ioapic (ioapic)" in text, True, "a device")
    tap.equal(lines(client, "info qom-tree /objects")[0], "/objects (container)", "a path")
    tap.equal(hmp(client, "info qom-tree /nope"),
              "Path '/nope' could not be resolved.\r\n", "no such path")


@tap.test("what fails is told as text")
def _():
    client = start_paused()
    text = ("Unable to wake up: guest is not in suspended state" if IS_QEMU else
            "wake-up from suspend is not supported by this guest")
    tap.equal(hmp(client, "system_wakeup"), f"Error: {text}\r\n", "system_wakeup")


@tap.test("system_powerdown presses the button")
def _():
    client = start("soft", guests.spin())[1]
    tap.equal(hmp(client, "system_powerdown"), "", "reply")
    client.wait_event("POWERDOWN", 5)


@tap.test("before the machine is initialised there is no human monitor")
def _():
    error = start_paused("--preconfig").execute("human-monitor-command",
                                                {"command-line": "info status"})["error"]
    tap.equal((error["class"], error["desc"]),
              ("GenericError", "The command 'human-monitor-command' is permitted only after machine "
               "initialization has completed"), "reply")


@tap.test("quit ends the process as the command of QMP does")
def _():
    vm, client = start("soft", guests.spin())
    client.send({"execute": "human-monitor-command", "arguments": {"command-line": "quit"}})
    messages = client.receive_until_closed()
    tap.equal([message.get("event", message.get("return")) for message in messages],
              ["SHUTDOWN", ""], "messages")
    tap.equal(messages[0]["data"], {"guest": False, "reason": "host-qmp-quit"}, "data")
    vm.expect_exit()


@tap.test("a machine without CPUs has no registers, and no memory")
def _():
    halcyond_only()
    daemon = Daemon(BINARY, "-machine", "none", "-nodefaults", "-display", "none")
    tap.cleanup(daemon.kill)
    client = daemon.connect()
    tap.equal(hmp(client, "x 0"), "Can not dump without CPU\r\n", "x")
    tap.equal(lines(client, "xp 0"), ["0000000000000000: Cannot access memory"], "xp")
    tap.equal(hmp(client, "info registers"), "CPU#0 not available\r\n", "info registers")
    tap.equal(hmp(client, "info cpus"), "", "info cpus")
    tap.equal(hmp(client, "info pci"), "No PCI buses\r\n", "info pci")
    tap.equal(hmp(client, "info qtree"), "bus: main-system-bus\r\n  type System\r\n", "info qtree")


@tap.test("a dump of any size is bounded")
def _():
    halcyond_only()
    text = hmp(start_paused(), "xp/999999999999xb 0")
    tap.equal(len(text) < 1 << 20, True, f"{len(text)} characters")


if __name__ == "__main__":
    tap.main()
