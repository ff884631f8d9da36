"""Guests for the black-box tests: firmware images of 64 KiB made by hand, a few instructions each.

The CPU starts at F000:FFF0 with the code segment's base at FFFF0000h (Intel SDM 3A 9.1.4); the last
64 KiB of the firmware file lie there, and a copy below 1 MiB. Offsets below are into those 64 KiB.
A near jump keeps the base, so the code runs at the top of 4 GiB in real mode.
"""

import struct

ENTRY = 0x100  # where the boot processor goes; offset 0 is where a start-up IPI sends the others
DEBUGCON = 0x402  # QEMU's isa-debugcon, as SeaBIOS uses it
PM_BASE = 0x600


class Code:
    """Machine code with labels for short and near jumps."""

    def __init__(self, origin):
        self.origin = origin
        self.data = bytearray()
        self.labels = {}
        self.fixups = []

    def raw(self, text):
        """Bytes in hexadecimal."""
        self.data += bytes.fromhex(text)
        return self

    def label(self, name):
        self.labels[name] = len(self.data)
        return self

    def short(self, opcode, name):
        """A two-byte jump (EB jmp, 75 jnz, E2 loop, ...), the same in 16 and 32 bit code."""
        self.data += bytes([opcode, 0])
        self.fixups.append((len(self.data), name))
        return self

    def out_imm(self, port, value):
        """out imm8, al: the same in 16 and 32 bit code."""
        return self.raw(f"B0{value:02X} E6{port:02X}")

    def out_dx(self, port, value):
        """out dx, al in 16 bit code."""
        self.data += b"\xba" + struct.pack("<H", port) + b"\xb0" + bytes([value]) + b"\xee"
        return self

    def out_dx32(self, port, value):
        """out dx, eax in 16 bit code."""
        self.data += b"\xba" + struct.pack("<H", port) + b"\x66\xb8" + struct.pack("<I", value)
        self.data += b"\x66\xef"
        return self

    def out_dx16(self, port, value):
        """out dx, ax in 16 bit code."""
        self.data += b"\xba" + struct.pack("<H", port) + b"\xb8" + struct.pack("<H", value)
        self.data += b"\xef"
        return self

    def print(self, text):
        """Prints to the debug console."""
        for byte in text.encode():
            self.out_dx(DEBUGCON, byte)
        return self

    def halt(self):
        """cli; hlt; jmp to it."""
        return self.raw("FA F4 EBFD")

    def finish(self):
        for end, name in self.fixups:
            distance = self.labels[name] - end
            if not -128 <= distance <= 127:
                raise ValueError(f"{name} is too far")
            self.data[end - 1] = distance & 0xFF
        return bytes(self.data)


def image(entry, parts=(), size=0x10000):
    """A firmware file: `entry` at ENTRY, further (offset, bytes) parts, the jump at the reset vector."""
    data = bytearray(b"\xf4" * size)
    base = size - 0x10000
    for offset, part in [(ENTRY, entry), *parts]:
        data[base + offset:base + offset + len(part)] = part
    jump = b"\xe9" + struct.pack("<H", (ENTRY - 0xFFF3) & 0xFFFF)
    data[base + 0xFFF0:base + 0xFFF3] = jump
    return bytes(data)


def _single(build, **options):
    code = Code(ENTRY)
    build(code)
    return image(code.finish(), **options)


def spin():
    """jmp $"""
    return _single(lambda c: c.label("l").short(0xEB, "l"))


def halt_loop():
    """HLT with interrupts off: only a kick gets it out."""
    return _single(lambda c: c.halt())


def pio_hammer():
    """Writes port 80h for ever."""
    return _single(lambda c: c.label("l").raw("E680").short(0xEB, "l"))


def pio_read_hammer():
    """Reads an empty port for ever: every access an intercept nobody answers."""
    return _single(lambda c: c.label("l").raw("E4EE").short(0xEB, "l"))


def mmio_hammer():
    """Writes a hole of the address space (the VGA window, no memory behind it) for ever."""
    return _single(lambda c: c.raw("B800A0 8ED8").label("l").raw("A20000").short(0xEB, "l"))


def string_pio_hammer():
    """rep outsb to port 80h, 65535 bytes at a time."""
    return _single(lambda c: c.raw("BA8000 FC").label("l").raw("31F6 B9FFFF F36E").short(0xEB, "l"))


def console_flood():
    """Prints 0-9 to the debug console for ever, as fast as it can."""
    return _single(lambda c: c.raw("BA0204").label("r").raw("B030").label("l").raw("EE FEC0 3C3A")
                   .short(0x75, "l").short(0xEB, "r"))


def console_counter():
    """Prints 0-9 to the debug console for ever: what does not grow stands still.

    16384 turns of a loop between two digits, so that the console's buffer never fills and none is lost.
    """
    return _single(lambda c: c.raw("BA0204").label("r").raw("B030").label("l").raw("EE B90040")
                   .label("w").short(0xE2, "w").raw("FEC0 3C3A").short(0x75, "l").short(0xEB, "r"))


def prints(text):
    """Prints a text on the debug console, then halts."""
    return _single(lambda c: c.print(text).halt())


def prints_serial(text):
    """Prints a text on COM1, then halts."""

    def build(code):
        for byte in text.encode():
            code.out_dx(0x3F8, byte)
        code.halt()

    return _single(build)


def prints_everywhere():
    """D on the debug console, 1 on COM1, 2 on COM2; then halts."""
    return _single(lambda c: c.out_dx(DEBUGCON, 0x44).out_dx(0x3F8, 0x31).out_dx(0x2F8, 0x32)
                   .halt())


def echo_serial():
    """Sends what COM1 receives back, one byte at a time."""
    return _single(lambda c: c.label("w").raw("BAFD03 EC A801").short(0x74, "w")
                   .raw("BAF803 EC EE").short(0xEB, "w"))


# At E000h the operand of lgdt, at E010h its table: null, flat 32 bit code (8), flat data (10h);
# at E028h behind them, 6 bytes of 0: an IDT without entries.
_FLAT_TABLES = [(0xE000, struct.pack("<HI", 23, 0xFFFFE010)),
                (0xE010, struct.pack("<QQQ", 0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF)),
                (0xE028, bytes(8))]


def _enter_flat_mode(code):
    """From real mode at the top of 4 GiB to flat 32 bit code and data."""
    code.raw("FA 662E0F0116 00E0")  # lgdt cs:[E000h]
    code.raw("0F20C0 0C01 0F22C0")  # CR0.PE
    target = 0xFFFF0000 + code.origin + len(code.data) + 8
    code.raw("66EA" + struct.pack("<IH", target, 8).hex())
    code.raw("66B81000 8ED8 8EC0 8ED0")


def pages():
    """Turns on 4-level paging (in compatibility mode): the image's end stays where it is, the page at
    4 MiB begins with HALC, and the one before it is there too; nothing else is.
    """
    code = Code(ENTRY)
    _enter_flat_mode(code)
    for address, value in [
            (0x1000, 0x2003),  # level 4: the first 512 GiB
            (0x2000, 0x3003), (0x2018, 0x4003),  # level 3: the first and the fourth GiB
            (0x3008, 0x6003), (0x3010, 0x5003),  # level 2: 2 and 4 MiB
            (0x4FF8, 0xFFE00083),  # level 2: the last 2 MiB, as one page
            (0x5000, 0x7003), (0x6FF8, 0x8003),  # level 1: 4 MiB, and the page before it
            (0x7000, struct.unpack("<I", b"HALC")[0])]:
        code.raw("C705" + struct.pack("<II", address, value).hex())  # mov dword [address], value
    code.raw("0F20E0 83C820 0F22E0 B800100000 0F22D8")  # CR4.PAE; CR3
    code.raw("B9800000C0 0F32 0D00010000 0F30")  # EFER.LME
    code.raw("0F20C0 0D00000080 0F22C0")  # CR0.PG
    code.label("l").short(0xEB, "l")
    return image(code.finish(), _FLAT_TABLES)


def sets_clock(year):
    """Sets the real-time clock's year, and again and again; prints C after the first time."""

    def build(code):
        two_digits = int(str(year % 100), 16)
        code.out_imm(0x70, 0x09).out_imm(0x71, two_digits).print("C")
        code.label("l").out_imm(0x71, two_digits).short(0xEB, "l")

    return _single(build)


def resets(how):
    """Prints R, then resets the machine: by "port92", "cf9", "i8042" or "triple-fault"."""
    code = Code(ENTRY)
    code.print("R")
    if how == "port92":
        code.out_dx(0x92, 0x01)
    elif how == "cf9":
        code.out_dx(0xCF9, 0x02).out_dx(0xCF9, 0x06)
    elif how == "i8042":
        code.out_dx(0x64, 0xFE)
    elif how == "triple-fault":
        # In protected mode, because KVM emulates real mode without the IDT's limit on some hosts.
        # A limit of 0: no exception can be delivered, nor the double fault that follows.
        code.raw("2E0F011E 28E0")  # lidt cs:[E028h]
        _enter_flat_mode(code)
        code.raw("0F0B")  # ud2
    else:
        raise ValueError(how)
    code.halt()
    return image(code.finish(), _FLAT_TABLES)


def counts_resets():
    """Prints a digit kept in RAM at 0500h, adds one, and resets, up to 9; then halts."""
    # xor ax,ax; mov ds,ax; mov al,[0500h]; inc byte [0500h]; add al,'0'; mov dx,402h; out dx,al;
    # cmp al,'9'; jae h; mov al,1; out 92h,al; h: cli; hlt; jmp h
    return _single(lambda c: c.raw("31C0 8ED8 A00005 FE060005 0430 BA0204 EE 3C39")
                   .short(0x73, "h").raw("B001 E692").label("h").raw("FA F4").short(0xEB, "h"))


def powers_off():
    """Prints S, sets the PIIX4's PM base and enables it, then enters S5 (SLP_TYP 0, SLP_EN)."""

    def build(code):
        code.print("S")
        code.out_dx32(0xCF8, 0x80000B40).out_dx32(0xCFC, PM_BASE | 1)
        code.out_dx32(0xCF8, 0x80000B80).out_dx(0xCFC, 0x01)
        code.out_dx16(PM_BASE + 4, 0x2000)
        code.halt()

    return _single(build)


def powers_off_on_button():
    """Enables the power button (PM1_EN), prints B, waits for its bit in PM1_STS, enters S5."""

    def build(code):
        code.out_dx32(0xCF8, 0x80000B40).out_dx32(0xCFC, PM_BASE | 1)
        code.out_dx32(0xCF8, 0x80000B80).out_dx(0xCFC, 0x01)
        code.out_dx16(PM_BASE + 2, 0x0100)
        code.print("B")
        code.raw("BA0006").label("w").raw("ED A90001").short(0x74, "w")
        code.out_dx16(PM_BASE + 4, 0x2000)
        code.halt()

    return _single(build)


def _broadcast_start(code):
    """From real mode to flat 32 bit code, then INIT and start-up IPIs to all other processors.

    The vector F0h starts them at F000:0000, in the copy of the image below 1 MiB. SDM 3A 8.4.4.1,
    10.6.1 (ICR: 000C4500h INIT, 000C46vvh start-up, all excluding self).
    """
    _enter_flat_mode(code)
    code.raw("C705F000E0FE FF010000")  # SVR: the APIC on, spurious vector FFh
    code.raw("C7050003E0FE 00450C00")
    code.raw("B900100000").label("d").short(0xE2, "d")
    for number in (1, 2):
        code.raw("C7050003E0FE F0460C00")
        code.raw("B900100000").label(f"d{number}").short(0xE2, f"d{number}")


def on_all_vcpus(body):
    """Starts all other processors, then runs `body` on all: "pio", "spin", "hlt" or "mix"."""
    bodies = {
        "pio": lambda c: c.label("l").raw("E680").short(0xEB, "l"),
        "spin": lambda c: c.label("l").short(0xEB, "l"),
        "hlt": lambda c: c.raw("FA").label("l").raw("F4").short(0xEB, "l"),
        # 64 port writes, then 200 turns of nothing: in and out of the hypervisor in bursts.
        "mix": lambda c: c.label("l").raw("B140").label("p").raw("E680 FEC9").short(0x75, "p")
        .raw("B1C8").label("s").raw("FEC9").short(0x75, "s").short(0xEB, "l"),
    }
    boot = Code(ENTRY)
    _broadcast_start(boot)
    bodies[body](boot)
    others = Code(0)
    others.raw("FA").out_imm(0x80, 0xA5)
    bodies[body](others)
    return image(boot.finish(), [(0, others.finish()), *_FLAT_TABLES])


def vcpu_roll_call():
    """Every processor prints its letter (A for the boot processor, a.. for the others by turn).

    Each of the others takes its turn from a counter in RAM at 0500h, so the order is not fixed,
    only the set: A and the small letters from a on.
    """
    boot = Code(ENTRY)
    _broadcast_start(boot)
    boot.raw("66BA0204 B041 EE FA F4 EBFD")
    others = Code(0)
    # xor ax,ax; mov ds,ax; mov al,1; lock xadd [0500h],al; add al,'a'; mov dx,402h; out dx,al
    others.raw("FA 31C0 8ED8 B001 F00FC0060005 0461 BA0204 EE F4 EBFD")
    return image(boot.finish(), [(0, others.finish()), *_FLAT_TABLES])
