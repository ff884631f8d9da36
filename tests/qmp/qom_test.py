#!/usr/bin/env python3
"""The object tree: what it is made of, that its values are the machine's, and QEMU's words."""

import calendar
import os
import time

import guests
import tap
from fixtures import (ACCELS, BINARY, IS_QEMU, debugcon_file, halcyond_only, start,
                      temporary_directory, write_file)
from qmp_client import Daemon

CPU0 = "/machine/unattached/device[0]"


def start_paused(*extra, accel="soft"):
    return start(accel, guests.spin(), "-S", *extra)[1]


def start_none(*extra):
    daemon = Daemon(BINARY, "-machine", "none", "-nodefaults", "-display", "none", *extra)
    tap.cleanup(daemon.kill)
    return daemon.connect()


def get(client, path, name):
    return client.command("qom-get", path=path, property=name)


def listed(client, path):
    """{name: type} of an object's properties and children."""
    return {entry["name"]: entry["type"] for entry in client.command("qom-list", path=path)}


def error_of(client, command, **arguments):
    error = client.execute(command, arguments)["error"]
    return error["class"], error["desc"]


def find(client, wanted, path="/"):
    """The paths of all objects of a type."""
    found = []
    for name, kind in listed(client, path).items():
        if kind.startswith("child<"):
            below = f"{path.rstrip('/')}/{name}"
            if kind == f"child<{wanted}>":
                found.append(below)
            if kind not in ("child<memory-region>", "child<irq>"):
                found += find(client, wanted, below)
    return found


@tap.test("the tree has QEMU's top")
def _():
    client = start_paused()
    tap.equal({name for name, kind in listed(client, "/").items() if kind.startswith("child<")}
              >= {"machine", "objects", "chardevs"}, True, "root")
    machine = listed(client, "/machine")
    for name in ("unattached", "peripheral", "peripheral-anon"):
        tap.equal(machine[name], "child<container>", name)
    tap.equal(get(client, "/machine", "peripheral"), "/machine/peripheral", "path of a child")
    tap.equal(listed(client, "/objects")["pc.ram"], "child<memory-backend-ram>", "memory")
    tap.equal(get(client, "/objects/pc.ram", "size"), 16 << 20, "its size")
    tap.equal(get(client, "/machine", "memory-backend"), "/objects/pc.ram", "a link")
    tap.equal(get(client, "/machine/memory-backend", "size"), 16 << 20, "through the link")


@tap.test("each vCPU of query-cpus-fast is in the tree", each=ACCELS)
def _(accel):
    client = start_paused("-smp", "3", accel=accel)
    for cpu in client.command("query-cpus-fast"):
        path = cpu["qom-path"]
        tap.equal(get(client, path, "type")[-11:], "-x86_64-cpu", "type")
        for name, value in cpu["props"].items():
            tap.equal(get(client, path, name), value, name)
        tap.equal(get(client, path, "apic-id"), cpu["cpu-index"], "apic-id")
        tap.equal(get(client, path + "/lapic", "id"), cpu["cpu-index"], "local APIC's id")


@tap.test("a vCPU's state and thread are those of the moment")
def _():
    halcyond_only()
    client = start_paused()
    [cpu] = client.command("query-cpus-fast")
    tap.equal(get(client, CPU0, "__org.halcyon_host-thread-id"), cpu["thread-id"], "thread")
    tap.equal(get(client, CPU0, "__org.halcyon_state"), "paused", "state")
    client.command("cont")
    tap.equal(get(client, CPU0, "__org.halcyon_state"), "running", "state when it runs")


@tap.test("every property that is listed can be read, and its path leads back")
def _():
    halcyond_only()
    _, path = debugcon_file()
    client = start_paused("-smp", "2", "-serial", "null", "-debugcon", f"file:{path}",
                          "-chardev", "ringbuf,id=r")
    client.command("object-add", qom_type="secret", id="s", data="x")

    def walk(path):
        count = 1
        for name, kind in listed(client, path).items():
            value = get(client, path, name)
            if kind.startswith("child<"):
                tap.equal(value, f"{path.rstrip('/')}/{name}", "path of a child")
                tap.equal(f"child<{get(client, value, 'type')}>", kind, "its type")
                count += walk(value)
            elif kind.startswith("link<") and value:
                listed(client, value)
        return count

    tap.equal(walk("/") > 30, True, "objects")


@tap.test("an object has the properties of its type")
def _():
    halcyond_only()
    client = start_paused("-serial", "null", "-debugcon", "null")
    client.command("object-add", qom_type="secret", id="s", data="x")
    checked = 0
    for entry in client.command("qom-list-types", abstract=False):
        described = {info["name"]: info["type"] for info in
                     client.command("qom-list-properties", typename=entry["name"])}
        for path in find(client, entry["name"]):
            has = listed(client, path)
            tap.equal({name: has.get(name) for name in described}, described, path)
            checked += 1
    tap.equal(checked > 25, True, "objects")


@tap.test("serial ports are where -serial puts them")
def _():
    client = start_paused("-chardev", "null,id=one", "-chardev", "null,id=two",
                          "-serial", "chardev:one", "-serial", "chardev:two")
    ports = [[get(client, path, name) for name in ("index", "iobase", "irq", "chardev")]
             for path in find(client, "isa-serial")]
    tap.equal(sorted(ports), [[0, 0x3F8, 4, "one"], [1, 0x2F8, 3, "two"]], "ports")
    tap.equal(get(client, "/chardevs/two", "type"), "chardev-null", "back end")


@tap.test("the debug console is a peripheral")
def _():
    client = start_paused("-debugcon", "null",
                          *(["-global", "isa-debugcon.iobase=0x402"] if IS_QEMU else []))
    [path] = find(client, "isa-debugcon")
    tap.equal(path, "/machine/peripheral/debugcon", "path")
    tap.equal((get(client, path, "iobase"), get(client, path, "readback")), (0x402, 0xE9),
              "properties")


@tap.test("the clock's date is the host's, in UTC")
def _():
    client = start_paused()
    [path] = find(client, "mc146818rtc")
    tap.equal(get(client, "/machine", "rtc_state"), path, "the machine's link")
    for owner, name in ((path, "date"), ("/machine", "rtc-time")):
        date = get(client, owner, name)
        told = calendar.timegm((date["tm_year"] + 1900, date["tm_mon"] + 1, date["tm_mday"],
                                date["tm_hour"], date["tm_min"], date["tm_sec"]))
        tap.equal(abs(told - time.time()) < 5, True, f"{name}: {date}")


@tap.test("PCI functions are those of query-pci")
def _():
    client = start_paused()
    [bus] = client.command("query-pci")
    known = {function["slot"] * 8 + function["function"]: function
             for function in bus["devices"]}
    for model, address in (("i440FX", 0), ("PIIX3", 8), ("PIIX4_PM", 11)):
        [path] = find(client, model)
        tap.equal(get(client, path, "addr"), address, "addr")
        tap.equal(get(client, path, "legacy-addr"), f"{address >> 3:02x}.{address & 7}", "address")
        tap.equal(get(client, path, "parent_bus"), "/machine/i440fx/pci.0", "bus")
        if not IS_QEMU:
            tap.equal([get(client, path, name) for name in ("x-pci-vendor-id", "x-pci-device-id")],
                      [known[address]["id"][name] for name in ("vendor", "device")], "ids")


@tap.test("devices of a PC are where QEMU has them")
def _():
    client = start_paused()
    for path, model in (("/machine/i440fx", "i440FX-pcihost"), ("/machine/fw_cfg", "fw_cfg_io"),
                        ("/machine/i440fx/ioapic", "ioapic"), ("/machine/i440fx/pci.0", "PCI"),
                        ("/machine/unattached/sysbus", "System")):
        tap.equal(get(client, path, "type"), model, path)


@tap.test("every device of a bus is linked from it")
def _():
    client = start_paused()
    [isa] = find(client, "ISA")
    linked = {get(client, isa, name) for name in listed(client, isa) if name.startswith("child[")}
    on_bus = {path for model in ("isa-i8259", "mc146818rtc", "isa-pit", "i8042", "port92")
              for path in find(client, model)}
    tap.equal(on_bus - linked, set(), "not linked")
    tap.equal({get(client, path, "parent_bus") for path in on_bus}, {isa}, "their bus")


@tap.test("paths may be partial, not ambiguous")
def _():
    client = start_paused()
    tap.equal(get(client, "pc.ram", "type"), "memory-backend-ram", "the last step")
    tap.equal(get(client, "unattached/device[0]", "type")[-11:], "-x86_64-cpu", "two steps")
    tap.equal(get(client, "//machine//unattached/", "type"), "container", "empty steps")
    tap.equal(error_of(client, "qom-list", path=""), ("GenericError", "Path '' is ambiguous"),
              "nothing at all")
    tap.equal(error_of(client, "qom-get", path="", property="type"),
              ("DeviceNotFound", "Device '' not found"), "qom-get")


@tap.test("what is not there is refused in QEMU's words")
def _():
    client = start_paused()
    kind = get(client, "/machine", "type")
    for command, arguments, expected in (
            ("qom-list", {"path": "/nope"}, ("DeviceNotFound", "Device '/nope' not found")),
            ("qom-get", {"path": "/nope", "property": "x"},
             ("DeviceNotFound", "Device '/nope' not found")),
            ("qom-get", {"path": "/machine", "property": "nope"},
             ("GenericError", f"Property '{kind}.nope' not found")),
            ("qom-set", {"path": "/machine", "property": "nope", "value": 1},
             ("GenericError", f"Property '{kind}.nope' not found")),
            ("qom-set", {"path": "/machine", "property": "type", "value": "x"},
             ("GenericError", f"Property '{kind}.type' is not writable")),
            ("qom-set", {"path": "/machine", "property": "peripheral", "value": "x"},
             ("GenericError", f"Property '{kind}.peripheral' is not writable")),
            ("qom-list-properties", {"typename": "nope"},
             ("DeviceNotFound", "Class 'nope' not found")),
            ("device-list-properties", {"typename": "nope"},
             ("DeviceNotFound", "Device 'nope' not found")),
            ("device-list-properties", {"typename": "device"},
             ("GenericError", "Parameter 'typename' expects a non-abstract device type")),
            ("device-list-properties", {"typename": "secret"},
             ("GenericError", "Parameter 'typename' expects a non-abstract device type"))):
        tap.equal(error_of(client, command, **arguments), expected, f"{command} {arguments}")


@tap.test("what a device is made of is fixed")
def _():
    client = start_paused()
    kind = get(client, CPU0, "type")
    tap.equal(error_of(client, "qom-set", path=CPU0, property="apic-id", value=5),
              ("GenericError", "Attempt to set property 'apic-id' on anonymous device "
               f"(type '{kind}') after it was realized"), "apic-id")
    tap.equal(client.command("qom-set", path=CPU0, property="realized", value=True), {},
              "it is realized already")
    tap.equal(error_of(client, "qom-set", path=CPU0, property="realized", value="x"),
              ("GenericError", "Invalid parameter type for 'realized', expected: boolean"),
              "of another type")


@tap.test("qom-list-types: kinds, abstract ones only on request")
def _():
    client = start_paused()
    tap.equal(client.command("qom-list-types", implements="isa-serial"),
              [{"name": "isa-serial", "parent": "isa-device"}], "one type")
    tap.equal(client.command("qom-list-types", implements="nope"), [], "no type")
    plain = {entry["name"]: entry for entry in client.command("qom-list-types",
                                                              implements="isa-device")}
    every = {entry["name"]: entry for entry in client.command("qom-list-types", abstract=True)}
    tap.equal("isa-device" in plain or "mc146818rtc" not in plain, False, "kinds of isa-device")
    tap.equal(every["isa-device"],
              {"name": "isa-device", "abstract": True, "parent": "device"}, "an abstract one")
    tap.equal(every["object"], {"name": "object", "abstract": True}, "the root")
    tap.equal("secret" in {entry["name"] for entry in
                           client.command("qom-list-types", implements="user-creatable")},
              True, "by interface")


@tap.test("device-list-properties tells names, types and defaults")
def _():
    client = start_paused()
    tap.equal(client.command("device-list-properties", typename="ioapic"),
              [{"name": "version", "type": "uint8", "default-value": 32}], "ioapic")
    found = {info["name"]: info for info in
             client.command("device-list-properties", typename="isa-serial")}
    tap.equal(found["chardev"], {"name": "chardev", "type": "str",
                                 "description": "ID of a chardev to use as a backend"}, "chardev")
    tap.equal(found["baudbase"], {"name": "baudbase", "type": "uint32", "default-value": 115200},
              "baudbase")


@tap.test("a secret: added, read, changed, removed")
def _():
    client = start_paused()
    client.command("object-add", qom_type="secret", id="s0", data="letmein")
    tap.equal(listed(client, "/objects")["s0"], "child<secret>", "listed")
    tap.equal({name: get(client, "/objects/s0", name)
               for name in ("data", "file", "format", "keyid", "iv", "loaded")},
              {"data": "letmein", "file": "", "format": "raw", "keyid": "", "iv": "",
               "loaded": True}, "properties")
    client.command("qom-set", path="/objects/s0", property="data", value="other")
    tap.equal(get(client, "/objects/s0", "data"), "other", "changed")
    tap.equal(error_of(client, "qom-set", path="/objects/s0", property="format", value="bogus"),
              ("GenericError", "Parameter 'format' does not accept value 'bogus'"), "format")
    tap.equal(error_of(client, "qom-set", path="/objects/s0", property="loaded", value=True),
              ("GenericError", "Property 'secret.loaded' is not writable"), "loaded")
    client.command("object-del", id="s0")
    tap.equal("s0" in listed(client, "/objects"), False, "gone")


@tap.test("object-add refuses in QEMU's words")
def _():
    client = start_paused()
    path = os.path.join(temporary_directory(), "nothing")
    client.command("object-add", qom_type="secret", id="there", data="x")
    for arguments, text in (
            ({}, "Parameter 'qom-type' is missing"),
            ({"qom-type": "secret"}, "Parameter 'id' is missing"),
            ({"qom-type": "nope", "id": "a"}, "Parameter 'qom-type' does not accept value 'nope'"),
            ({"qom-type": "isa-serial", "id": "a"},
             "Parameter 'qom-type' does not accept value 'isa-serial'"),
            ({"qom-type": "secret", "id": "1a", "data": "x"},
             "Parameter 'id' expects an identifier"),
            ({"qom-type": "secret", "id": "there", "data": "x"},
             "attempt to add duplicate property 'there' to object (type 'container')"),
            ({"qom-type": "secret", "id": "a"}, "Either 'file' or 'data' must be provided"),
            ({"qom-type": "secret", "id": "a", "data": "x", "file": "/x"},
             "'file' and 'data' are mutually exclusive"),
            ({"qom-type": "secret", "id": "a", "data": "x", "loaded": True},
             "Property 'secret.loaded' is not writable"),
            ({"qom-type": "secret", "id": "a", "data": "!", "format": "base64"},
             "Base64 data contains invalid characters"),
            ({"qom-type": "secret", "id": "a", "data": "x", "nope": 1},
             "Parameter 'nope' is unexpected"),
            ({"qom-type": "secret", "id": "a", "file": path},
             f"Unable to read {path}: Failed to open file \u201c{path}\u201d: "
             "No such file or directory")):
        tap.equal(error_of(client, "object-add", **arguments), ("GenericError", text),
                  f"{arguments}")


@tap.test("encrypted secrets are refused, and there is no trace of them")
def _():
    halcyond_only()
    client = start_paused()
    client.command("object-add", qom_type="secret", id="key", data="k" * 32)
    for name in ("keyid", "iv"):
        tap.equal(error_of(client, "object-add", **{"qom-type": "secret", "id": "s", "data": "x",
                                                    name: "key"}),
                  ("GenericError", "Encrypted secrets ('keyid', 'iv') are not supported"), name)
    tap.equal("s" in listed(client, "/objects"), False, "not there")


@tap.test("object-del refuses what it did not make")
def _():
    client = start_paused()
    tap.equal(error_of(client, "object-del", id="nope"),
              ("GenericError", "object 'nope' not found"), "unknown")
    tap.equal(error_of(client, "object-del", id="pc.ram"),
              ("GenericError", "object 'pc.ram' is in use, can not be deleted"), "the memory")


@tap.test("a secret's file is read when it is added")
def _():
    client = start_paused()
    path = write_file("secret", b"from a file")
    client.command("object-add", qom_type="secret", id="f", file=path)
    tap.equal((get(client, "/objects/f", "file"), get(client, "/objects/f", "data")), (path, ""),
              "properties")


@tap.test("back ends come and go in the tree")
def _():
    client = start_paused()
    client.command("chardev-add", id="ring", backend={"type": "ringbuf", "data": {}})
    tap.equal(get(client, "/chardevs/ring", "type"), "chardev-ringbuf", "type")
    client.command("chardev-remove", id="ring")
    tap.equal("ring" in listed(client, "/chardevs"), False, "removed")
    tap.equal(get(client, "/chardevs/test-mon0", "connected"), True, "the monitor's own")


@tap.test("a machine without devices has a tree too, and so has one that is not yet made",
          each=["none", "preconfig"])
def _(kind):
    client = start_none() if kind == "none" else start_paused("--preconfig")
    tap.equal(listed(client, "/machine")["unattached"], "child<container>", "container")
    client.command("object-add", qom_type="secret", id="s", data="x")
    tap.equal(get(client, "/objects/s", "data"), "x", "an object")


if __name__ == "__main__":
    tap.main()
