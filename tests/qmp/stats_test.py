#!/usr/bin/env python3
"""query-stats and query-stats-schemas: the vCPUs' counters, filtered as QEMU filters its own."""

import guests
import tap
from fixtures import ACCELS, IS_QEMU, halcyond_only, start

PROVIDER = "kvm" if IS_QEMU else "__org.halcyon_vcpu"


def vcpu_stats(client, **filters):
    """{path: {name: value}} of the vCPUs."""
    results = client.command("query-stats", target="vcpu", **filters)
    return {result["qom-path"]: {stat["name"]: stat["value"] for stat in result["stats"]}
            for result in results}


@tap.test("each vCPU has every statistic of the schema, in its type", each=ACCELS)
def _(accel):
    halcyond_only()
    _, client = start(accel, guests.on_all_vcpus("mix"), "-smp", "2")
    [schema] = client.command("query-stats-schemas")
    tap.equal((schema["provider"], schema["target"]), (PROVIDER, "vcpu"), "what it is about")
    names = [stat["name"] for stat in schema["stats"]]
    stats = vcpu_stats(client)
    paths = [cpu["qom-path"] for cpu in client.command("query-cpus-fast")]
    tap.equal(sorted(stats), sorted(paths), "vCPUs")
    for values in stats.values():
        tap.equal(sorted(values), sorted(names), "names")
        for stat in schema["stats"]:
            wanted = bool if stat.get("unit") == "boolean" else int
            tap.equal(type(values[stat["name"]]), wanted, f"type of {stat['name']}")


@tap.test("the schema says what is a count, a time, a state")
def _():
    halcyond_only()
    _, client = start("soft", guests.spin(), "-S")
    [schema] = client.command("query-stats-schemas")
    found = {stat["name"]: stat for stat in schema["stats"]}
    tap.equal(found["io_exits"], {"name": "io_exits", "type": "cumulative", "exponent": 0},
              "io_exits")
    tap.equal(found["guest_time"], {"name": "guest_time", "type": "cumulative", "unit": "seconds",
                                    "base": 10, "exponent": -9}, "guest_time")
    tap.equal(found["running"], {"name": "running", "type": "instant", "unit": "boolean",
                                 "exponent": 0}, "running")


@tap.test("accesses to ports and to memory are counted apart",
          each=[(f"{accel}, {what}", (accel, what)) for accel in ACCELS
                for what in ("io_exits", "mmio_exits")])
def _(case):
    halcyond_only()
    accel, what = case
    guest = guests.pio_hammer() if what == "io_exits" else guests.mmio_hammer()
    _, client = start(accel, guest)
    [path] = vcpu_stats(client)

    def value(name):
        return vcpu_stats(client)[path][name]

    before = value(what)
    tap.wait_until(lambda: value(what) > before + 100, f"{what} grows")
    client.command("stop")
    other = "mmio_exits" if what == "io_exits" else "io_exits"
    tap.equal(value(other), 0, other)
    counted = value(what)
    tap.equal(value("entries") >= counted, True, "each exit had its entry")
    tap.equal(value(what), counted, "a stopped vCPU counts no more")


@tap.test("kicks and the run state", each=ACCELS)
def _(accel):
    halcyond_only()
    _, client = start(accel, guests.on_all_vcpus("pio"), "-smp", "2")
    for _ in range(10):
        client.command("stop")
        client.command("cont")
    told = vcpu_stats(client)
    tap.equal([values["kicks"] >= 10 for values in told.values()], [True] * 2, "ten kicks each")
    tap.equal([values["rekicks"] for values in told.values()], [0, 0], "re-kicks")
    tap.equal([values["running"] for values in told.values()], [True] * 2, "running")
    client.command("stop")
    told = vcpu_stats(client)
    tap.equal([values["running"] for values in told.values()], [False] * 2, "running when stopped")
    ours = client.command("__org.halcyon_query-vcpu-stats")
    tap.equal([(values["kicks"], values["rekicks"]) for values in told.values()],
              [(vcpu["kicks"], vcpu["rekicks"]) for vcpu in ours], "the older command agrees")


@tap.test("guest_time grows while the guest runs, also without exits, and stands while stopped",
          each=ACCELS)
def _(accel):
    halcyond_only()
    _, client = start(accel, guests.spin())

    def guest_time():
        [values] = vcpu_stats(client).values()
        return values["guest_time"]

    first = guest_time()
    tap.wait_until(lambda: guest_time() > first + 20_000_000, "20 ms more")
    client.command("stop")
    stopped = guest_time()
    tap.equal(guest_time(), stopped, "guest_time while stopped")


@tap.test("filters: names, vCPUs, providers")
def _():
    _, client = start("kvm" if IS_QEMU else "soft", guests.spin(), "-smp", "2", "-S")
    name = "io_exits"
    paths = sorted(vcpu_stats(client))
    tap.equal(len(paths), 2, "vCPUs")
    only = [{"provider": PROVIDER, "names": [name, "no-such-name"]}]
    tap.equal({path: list(values) for path, values in vcpu_stats(client, providers=only).items()},
              {path: [name] for path in paths}, "one name")
    tap.equal(list(vcpu_stats(client, vcpus=paths[1:], providers=only)), paths[1:], "one vCPU")
    tap.equal(vcpu_stats(client, vcpus=["/machine/nowhere"]), {}, "no such vCPU")
    tap.equal(vcpu_stats(client, providers=[]), {}, "no provider")
    tap.equal(vcpu_stats(client, providers=[{"provider": PROVIDER, "names": ["no-such-name"]}]),
              {}, "no such name")


@tap.test("QEMU's provider is known, and has nothing to say")
def _():
    halcyond_only()
    _, client = start("soft", guests.spin(), "-S")
    tap.equal(vcpu_stats(client, providers=[{"provider": "kvm"}]), {}, "query-stats")
    tap.equal(client.command("query-stats-schemas", provider="kvm"), [], "query-stats-schemas")
    tap.equal(client.command("query-stats", target="vm"), [], "the VM")


@tap.test("arguments that are wrong are refused in QEMU's words")
def _():
    _, client = start("soft", guests.spin(), "-S")
    for arguments, text in (
            (None, "Parameter 'target' is missing"),
            ({"target": "cpu"}, "Parameter 'target' does not accept value 'cpu'"),
            ({"target": "vm", "vcpus": []}, "Parameter 'vcpus' is unexpected"),
            ({"target": "vcpu", "vcpus": 1},
             "Invalid parameter type for 'vcpus', expected: array"),
            ({"target": "vcpu", "providers": [{}]},
             "Parameter 'providers[0].provider' is missing")):
        error = client.execute("query-stats", arguments)["error"]
        tap.equal((error["class"], error["desc"]), ("GenericError", text), f"{arguments}")


if __name__ == "__main__":
    tap.main()
