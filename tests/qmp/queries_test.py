#!/usr/bin/env python3
"""What clients can ask of the machine: its parts, its memory, what it could have and does not."""

import shutil

import guests
import tap
from fixtures import ACCELS, BINARY, IS_QEMU, halcyond_only, start
from qmp_client import Daemon


def start_paused(*extra, accel="soft"):
    return start(accel, guests.spin(), "-S", *extra)[1]


def start_none(*extra):
    """A client of a machine without CPUs, memory and devices."""
    daemon = Daemon(BINARY, "-machine", "none", "-nodefaults", "-display", "none", *extra)
    tap.cleanup(daemon.kill)
    return daemon.connect()


def error_of(client, command, **arguments):
    return client.execute(command, arguments or None).get("error")


@tap.test("query-machines: pc and none, one of them the default")
def _():
    machines = {info["name"]: info for info in start_paused().command("query-machines")}
    halcyond_only()
    tap.equal(sorted(machines), ["none", "pc"], "names")
    tap.equal(machines["pc"], {
        "name": "pc", "is-default": True, "cpu-max": 255, "hotpluggable-cpus": False,
        "numa-mem-supported": False, "deprecated": False, "default-cpu-type": "host-x86_64-cpu",
        "default-ram-id": "pc.ram"}, "pc")


@tap.test("query-hotpluggable-cpus: one filled place for each vCPU")
def _():
    client = start_paused("-smp", "3")
    places = client.command("query-hotpluggable-cpus")
    cpus = client.command("query-cpus-fast")
    tap.equal(sorted(place["qom-path"] for place in places),
              sorted(cpu["qom-path"] for cpu in cpus), "paths")
    tap.equal([place["vcpus-count"] for place in places], [1, 1, 1], "vCPUs of each")
    by_path = {cpu["qom-path"]: cpu["props"] for cpu in cpus}
    tap.equal([place["props"] for place in places],
              [by_path[place["qom-path"]] for place in places], "places in the topology")
    tap.equal({place["type"][-11:] for place in places}, {"-x86_64-cpu"}, "types")


@tap.test("query-hotpluggable-cpus of a machine without CPUs is QEMU's error")
def _():
    tap.equal(error_of(start_none(), "query-hotpluggable-cpus"),
              {"class": "GenericError",
               "desc": "The feature 'query-hotpluggable-cpus' is not enabled"}, "error")


@tap.test("the size of the memory is that of -m", each=["1", "16", "100"])
def _(megabytes):
    client = start_paused("-m", megabytes)
    size = int(megabytes) << 20
    tap.equal(client.command("query-memory-size-summary")["base-memory"], size, "base-memory")
    memdevs = client.command("query-memdev")
    tap.equal([(memdev["id"], memdev["size"], memdev["policy"], memdev["host-nodes"],
                memdev["share"]) for memdev in memdevs],
              [("pc.ram", size, "default", [], False)], "query-memdev")
    tap.equal(client.command("query-memory-devices"), [], "query-memory-devices")


@tap.test("a machine without devices has none of these",
          each=["query-block", "query-blockstats", "query-jobs", "query-iothreads"])
def _(command):
    tap.equal(start_paused().command(command), [], "answer")


@tap.test("query-blockstats takes query-nodes")
def _():
    tap.equal(start_paused().command("query-blockstats", query_nodes=True), [], "answer")


@tap.test("query-migrate before any migration is empty")
def _():
    tap.equal(start_paused().command("query-migrate"), {}, "answer")


@tap.test("query-balloon without a balloon is DeviceNotActive")
def _():
    tap.equal(error_of(start_paused(), "query-balloon"),
              {"class": "DeviceNotActive", "desc": "No balloon device has been activated"},
              "error")


@tap.test("query-chardev-backends names what -chardev takes")
def _():
    names = {info["name"] for info in start_paused().command("query-chardev-backends")}
    tap.equal(names >= {"socket", "stdio", "file", "pty", "null"}, True, f"names: {names}")


@tap.test("query-pci: the bridges of the chipset, with QEMU's ids")
def _():
    [bus] = start_paused().command("query-pci")
    tap.equal(bus["bus"], 0, "number of the bus")
    found = {(info["slot"], info["function"]): info for info in bus["devices"]}
    bridge = dict(found[0, 0])
    tap.equal(bridge, {
        "bus": 0, "slot": 0, "function": 0, "class_info": {"class": 0x600, "desc": "Host bridge"},
        "id": {"vendor": 0x8086, "device": 0x1237, "subsystem-vendor": 0x1AF4,
               "subsystem": 0x1100},
        "irq_pin": 0, "qdev_id": "", "regions": []}, "host bridge")
    tap.equal([(found[slot]["id"]["device"], found[slot]["class_info"])
               for slot in ((1, 0), (1, 3))],
              [(0x7000, {"class": 0x601, "desc": "ISA bridge"}),
               (0x7113, {"class": 0x680, "desc": "Bridge"})], "the functions of slot 1")
    tap.equal((found[1, 3]["irq_pin"], "irq" in found[1, 3]), (1, True), "its interrupt")


@tap.test("query-pci of a machine without PCI is empty")
def _():
    tap.equal(start_none().command("query-pci"), [], "answer")


@tap.test("query-command-line-options knows these options and parameters",
          each=[("smp-opts", "smp-opts cpus number"), ("memory", "memory size size"),
                ("mon", "mon pretty boolean"), ("chardev", "chardev server boolean"),
                ("name", "name guest string"), ("boot-opts", "boot-opts menu boolean"),
                *((f"action {name}", f"action {name} string")
                  for name in ("reboot", "shutdown", "panic", "watchdog")),
                ("sandbox enable", "sandbox enable boolean"),
                *((f"sandbox {name}", f"sandbox {name} string")
                  for name in ("obsolete", "elevateprivileges", "spawn", "resourcecontrol"))])
def _(words):
    option, name, kind = words.split()
    client = start_paused()
    [info] = client.command("query-command-line-options", option=option)
    tap.equal(info["option"], option, "option")
    types = {parameter["name"]: parameter["type"] for parameter in info["parameters"]}
    tap.equal(types.get(name), kind, f"type of {name}")
    tap.equal(info in client.command("query-command-line-options"), True, "it is one of all")


@tap.test("query-command-line-options of an option that is not there is QEMU's error")
def _():
    tap.equal(error_of(start_paused(), "query-command-line-options", option="foo"),
              {"class": "GenericError", "desc": "invalid option name: foo"}, "error")


@tap.test("query-cpu-definitions: host and max, which fit every host")
def _():
    found = {info["name"]: info for info in start_paused().command("query-cpu-definitions")}
    for name in ("host", "max"):
        unavailable = ["kvm"] if IS_QEMU and name == "host" else []
        tap.equal(found[name], {"name": name, "typename": f"{name}-x86_64-cpu", "static": False,
                                "migration-safe": False, "deprecated": False,
                                "unavailable-features": unavailable}, name)
    halcyond_only()
    tap.equal(sorted(found), ["host", "max"], "names")


@tap.test("query-cpu-model-expansion tells what CPUID shows", each=ACCELS)
def _(accel):
    client = start_paused("-cpu", "max", accel=accel)
    model = client.command("query-cpu-model-expansion", type="full",
                           model={"name": "max"})["model"]
    tap.equal(model["name"], "max", "name")
    props = model["props"]
    for name in ("tsc", "cx8", "apic", "cmov", "hypervisor"):
        tap.equal(props[name], True, name)
    tap.equal([type(props[name]) for name in ("vendor", "model-id", "family", "avx", "xlevel")],
              [str, str, int, bool, int], "types")
    tap.equal(props["lm"], accel == "kvm" or IS_QEMU, "long mode")


@tap.test("on KVM, host means the same here and in QEMU")
def _():
    halcyond_only()
    qemu = shutil.which("qemu-system-x86_64")
    if qemu is None:
        tap.skip("there is no QEMU")
    ask = {"type": "full", "model": {"name": "host"}}
    ours = start_paused(accel="kvm").execute("query-cpu-model-expansion", ask)["return"]
    daemon = Daemon(qemu, "-accel", "kvm", "-cpu", "host", "-nodefaults", "-display", "none", "-S")
    tap.cleanup(daemon.kill)
    theirs = daemon.connect().execute("query-cpu-model-expansion", ask)["return"]["model"]["props"]
    ours = ours["model"]["props"]
    tap.equal([name for name in ours if name not in theirs], [], "names that QEMU lacks")
    different = {name: (ours[name], theirs[name]) for name in ours if ours[name] != theirs[name]}
    tap.diagnose(f"ours, theirs: {different}")
    tap.equal([different.get(name) for name in ("vendor", "family", "model", "stepping", "lm",
                                                "nx", "sse2", "avx", "avx2", "cx16", "pae")],
              [None] * 11, "different values")


@tap.test("query-cpu-model-expansion refuses what QEMU refuses, in its words", each=[
    ("model", ({"name": "foo"}, "CPU model 'foo' not found")),
    ("property", ({"name": "max", "props": {"foo": True}},
                  "Property 'max-x86_64-cpu.foo' not found")),
    ("type", ({"name": "max", "props": {"avx": 7}},
              "Invalid parameter type for 'avx', expected: boolean"))])
def _(case):
    model, text = case
    tap.equal(error_of(start_paused(), "query-cpu-model-expansion", type="full", model=model),
              {"class": "GenericError", "desc": text}, "error")


@tap.test("query-cpu-model-expansion: properties cannot be other than they are")
def _():
    halcyond_only()
    client = start_paused()
    same = {"name": "host", "props": {"tsc": True, "vendor": "HalcyonSoft "}}
    tap.equal("return" in client.execute("query-cpu-model-expansion",
                                         {"type": "full", "model": same}), True, "as they are")
    for kind, model, text in (
            ("full", {"name": "host", "props": {"avx": True}},
             "Property 'host-x86_64-cpu.avx' cannot be changed: -cpu takes no properties"),
            ("static", {"name": "host"}, "The requested expansion type is not supported")):
        tap.equal(error_of(client, "query-cpu-model-expansion", type=kind, model=model),
                  {"class": "GenericError", "desc": text}, "error")
    tap.equal("error" in start_none().execute("query-cpu-model-expansion",
                                              {"type": "full", "model": {"name": "host"}}), True,
              "a machine without CPUs")


@tap.test("before machine initialisation the same may be asked as of QEMU",
          each=["query-hotpluggable-cpus", "query-memdev", "query-iothreads", "query-block",
                "query-blockstats", "query-command-line-options"])
def _(command):
    client = start_paused("--preconfig")
    tap.equal("return" in client.execute(command), True, "there is an answer")


if __name__ == "__main__":
    tap.main()
