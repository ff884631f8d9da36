#!/usr/bin/env python3
"""That a client made for QEMU's schema fits ours.

qemu_schema.json is an excerpt of QEMU's answer to query-qmp-schema; record_qemu_schema.py made it.
"""
import json
import pathlib
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "schemas"))

import introspection
import model
from schema_shapes import Shapes

RECORD = json.loads(pathlib.Path(__file__).with_name("qemu_schema.json").read_text("utf-8"))
# Where QEMU has kinds and options of things that we lack. Whoever asks for one is told its name, as
# QEMU's own builds do that lack it.
LACKING_BACKENDS = """braille console dbus msmouse mux parallel pipe qemu-vdagent serial spiceport
    spicevmc testdev udp vc wctablet""".split()
LACKING_BACKEND_MEMBERS = {  # by the kind of back end
    "file": ("in",),
    "socket": ("tls-creds", "tls-authz")}
LACKING_INET_MEMBERS = ("mptcp",)
LACKING_OBJECTS = """authz-list authz-listfile authz-pam authz-simple can-bus can-host-socketcan
    colo-compare cryptodev-backend cryptodev-backend-builtin cryptodev-backend-lkcf
    cryptodev-vhost-user dbus-vmstate filter-buffer filter-dump filter-mirror filter-redirector
    filter-replay filter-rewriter input-barrier input-linux iothread main-loop memory-backend-epc
    memory-backend-file memory-backend-memfd memory-backend-ram pef-guest pr-manager-helper qtest
    rng-builtin rng-egd rng-random s390-pv-guest secret_keyring sev-guest thread-context
    throttle-group tls-cipher-suites tls-creds-anon tls-creds-psk tls-creds-x509 x-remote-object
    x-vfio-user-server""".split()
VENDOR_PREFIX = "__org.halcyon_"


def lacking_backend(where):
    """The faults of a ChardevBackend."""
    socket = f"{where}(socket).data.addr"
    return [
        *(f"{where}.type: does not take '{kind}'" for kind in LACKING_BACKENDS),
        *(f"{where}({kind}).data: does not know '{name}'"
          for kind, names in LACKING_BACKEND_MEMBERS.items() for name in names),
        f"{socket}.type: does not take 'vsock'",
        *(f"{socket}(inet).data: does not know '{name}'" for name in LACKING_INET_MEMBERS)]


LACKING = {
    "chardev-add": lacking_backend("chardev-add.backend"),
    "chardev-change": lacking_backend("chardev-change.backend"),
    "object-add": [f"object-add.qom-type: does not take '{name}'" for name in LACKING_OBJECTS]}


def mandatory(members):
    return {name for name in members if not name.endswith("?")}


def plain(members):
    """Members by their names alone."""
    return {name.rstrip("?"): shape for name, shape in members.items()}


def argument_faults(theirs, ours, where):
    """What QEMU takes as an argument and we do not."""
    if isinstance(theirs, list) and isinstance(ours, list):
        return argument_faults(theirs[0], ours[0], where + "[]")
    if isinstance(theirs, str) or isinstance(ours, str):
        return [] if theirs == ours else [f"{where}: {theirs} there, {ours} here"]
    if theirs.keys() != ours.keys():
        return [f"{where}: {sorted(theirs)} there, {sorted(ours)} here"]
    if "enum" in theirs:
        return [f"{where}: does not take '{value}'"
                for value in theirs["enum"] if value not in ours["enum"]]
    if "alternate" in theirs:
        return [f"{where}: does not take {shape}" for shape in theirs["alternate"]
                if all(argument_faults(shape, branch, where) for branch in ours["alternate"])]
    faults = member_faults(theirs["object"], ours["object"], where)
    for value, members in theirs.get("variants", {}).items():
        # A value that the tag does not take is told of above.
        if value in ours["object"].get(ours["tag"], {}).get("enum", [value]):
            faults += member_faults(members, ours["variants"].get(value, {}), f"{where}({value})")
    return faults


def member_faults(theirs, ours, where):
    faults = [f"{where}: '{name}' is mandatory here only"
              for name in mandatory(ours) - mandatory(theirs)]
    for name, shape in plain(theirs).items():
        if name in plain(ours):
            faults += argument_faults(shape, plain(ours)[name], f"{where}.{name}")
        else:
            faults.append(f"{where}: does not know '{name}'")
    return faults


def result_faults(theirs, ours, where):
    """What we may send that a client of QEMU does not expect, or what it expects and we lack."""
    if isinstance(theirs, list) and isinstance(ours, list):
        return result_faults(theirs[0], ours[0], where + "[]")
    if isinstance(theirs, str) or isinstance(ours, str):
        return [] if theirs == ours else [f"{where}: {theirs} there, {ours} here"]
    if "enum" in theirs and "enum" in ours:
        return [f"{where}: may be '{value}'" for value in ours["enum"]
                if value not in theirs["enum"] and not value.startswith(VENDOR_PREFIX)]
    if "alternate" in theirs and "alternate" in ours:
        return [f"{where}: may be {shape}" for shape in ours["alternate"]
                if all(result_faults(branch, shape, where) for branch in theirs["alternate"])]
    if "object" not in theirs or "object" not in ours:
        return [f"{where}: {sorted(theirs)} there, {sorted(ours)} here"]
    faults = sent_member_faults(theirs["object"], ours["object"], where)
    if "tag" in ours and ours["tag"] != theirs.get("tag"):
        return [*faults, f"{where}: told apart by {theirs.get('tag')} there"]
    for value, members in ours.get("variants", {}).items():
        faults += sent_member_faults(theirs["variants"].get(value, {}), members,
                                     f"{where}({value})")
    return faults


def sent_member_faults(theirs, ours, where):
    faults = [f"{where}: '{name}' is not always there"
              for name in mandatory(theirs) - mandatory(ours)]
    for name, shape in plain(ours).items():
        if name in plain(theirs):
            faults += result_faults(plain(theirs)[name], shape, f"{where}.{name}")
    return faults


class Compatibility(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.schema = model.load(sorted((ROOT / "schemas").glob("*.json")))
        cls.ours = Shapes(introspection.build(cls.schema))

    def test_the_record_is_complete(self):
        self.assertEqual(sorted(set(self.ours.of_kind("command")) & set(RECORD["all-commands"])),
                         sorted(RECORD["commands"]), "run record_qemu_schema.py again")
        self.assertEqual(sorted(set(self.ours.of_kind("event")) & set(RECORD["all-events"])),
                         sorted(RECORD["events"]), "run record_qemu_schema.py again")

    def test_names_that_qemu_lacks_are_ours_or_newer(self):
        recorded = tuple(int(part) for part in RECORD["qemu"].split("."))
        for entries, known in ((self.schema.commands, RECORD["all-commands"]),
                               (self.schema.events, RECORD["all-events"])):
            for entry in entries:
                if entry.name.startswith(VENDOR_PREFIX):
                    self.assertNotIn(entry.name, known)
                    continue
                since = tuple(int(part) for part in entry.entry["since"].split("."))
                self.assertEqual(entry.name in known, since <= recorded, entry.name)

    def test_arguments_that_qemu_takes_are_taken(self):
        for name, theirs in RECORD["commands"].items():
            with self.subTest(command=name):
                ours = self.ours.command(name)
                # Equal, so that the list holds nothing that is there by now.
                self.assertEqual(sorted(argument_faults(theirs["arguments"], ours["arguments"], name)),
                                 sorted(LACKING.get(name, [])))

    def test_results_are_such_as_qemu_gives(self):
        for name, theirs in RECORD["commands"].items():
            with self.subTest(command=name):
                ours = self.ours.command(name)
                self.assertEqual(result_faults(theirs["returns"], ours["returns"], name), [])

    def test_events_are_such_as_qemu_sends(self):
        for name, theirs in RECORD["events"].items():
            with self.subTest(event=name):
                ours = self.ours.event(name)
                self.assertEqual(result_faults(theirs["data"], ours["data"], name), [])


def members(**shapes):
    return {"object": {name.replace("_", "?"): shape for name, shape in shapes.items()}}


class Comparison(unittest.TestCase):
    """That the comparison sees what it is there for."""

    def test_arguments(self):
        enum = {"enum": ["a", "b"]}
        for theirs, ours, fits in (
                (members(x="int"), members(x="int"), True),
                (members(x="int"), members(x="int", y_="int"), True),
                (members(x="int"), members(x="str"), False),
                (members(x="int"), members(), False),
                (members(x_="int"), members(x="int"), False),
                (members(), members(y="int"), False),
                (members(x=enum), members(x={"enum": ["a", "b", "c"]}), True),
                (members(x=enum), members(x={"enum": ["a"]}), False),
                (members(x=["int"]), members(x=["str"]), False),
                ({"alternate": ["int"]}, {"alternate": ["str", "int"]}, True),
                ({"alternate": ["int", "bool"]}, {"alternate": ["int"]}, False)):
            with self.subTest(theirs=theirs, ours=ours):
                self.assertEqual(argument_faults(theirs, ours, "x") == [], fits)

    def test_results(self):
        enum = {"enum": ["a", "b"]}
        for theirs, ours, fits in (
                (members(x="int"), members(x="int", y="int"), True),
                (members(x_="int"), members(), True),
                (members(x_="int"), members(x="int"), True),
                (members(x="int"), members(x_="int"), False),
                (members(x="int"), members(), False),
                (members(x=enum), members(x={"enum": ["a"]}), True),
                (members(x=enum), members(x={"enum": ["a", "c"]}), False),
                (members(x=enum), members(x={"enum": [VENDOR_PREFIX + "c"]}), True),
                ([members(x="int")], [members(x="bool")], False),
                ({"alternate": ["int", "bool"]}, {"alternate": ["int"]}, True),
                ({"alternate": ["int"]}, {"alternate": ["int", "bool"]}, False)):
            with self.subTest(theirs=theirs, ours=ours):
                self.assertEqual(result_faults(theirs, ours, "x") == [], fits)

    def test_variants(self):
        theirs = {"object": {"t": {"enum": ["a", "b"]}}, "tag": "t",
                  "variants": {"a": {"x": "int"}, "b": {}}}
        ours = {"object": {"t": {"enum": ["a"]}}, "tag": "t", "variants": {"a": {"x?": "int"}}}
        self.assertEqual(result_faults(theirs, ours, "r"), ["r(a): 'x' is not always there"])
        self.assertEqual(argument_faults(theirs, ours, "r"), ["r.t: does not take 'b'"])


if __name__ == "__main__":
    unittest.main()
