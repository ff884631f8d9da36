#!/usr/bin/env python3
"""Records what QEMU's introspection says of the commands and events that Halcyon has too.

usage: record_qemu_schema.py QEMU_BINARY > qemu_schema.json

Only names and types are kept (schema_shapes.py). Of results and events, optional members and
variants that Halcyon lacks are left out: a server need not send them.
"""
import json
import pathlib
import subprocess
import sys

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "schemas"))

import introspection
import model
from schema_shapes import Shapes, without_optional


def ask_qemu(binary):
    """The answers to query-version and query-qmp-schema."""
    requests = [{"execute": command} for command in
                ("qmp_capabilities", "query-version", "query-qmp-schema", "quit")]
    done = subprocess.run(
        [binary, "-machine", "none", "-nodefaults", "-display", "none", "-qmp", "stdio"],
        input="".join(json.dumps(request) + "\n" for request in requests),
        capture_output=True, text=True, check=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    answers = [answer["return"] for answer in answers if "return" in answer]
    return answers[1], answers[2]


def record(version, theirs, ours):
    qemu = version["qemu"]
    commands = {}
    for name in sorted(set(theirs.of_kind("command")) & set(ours.of_kind("command"))):
        shapes = theirs.command(name)
        shapes["returns"] = without_optional(shapes["returns"], ours.command(name)["returns"])
        commands[name] = shapes
    events = {}
    for name in sorted(set(theirs.of_kind("event")) & set(ours.of_kind("event"))):
        events[name] = {"data": without_optional(theirs.event(name)["data"],
                                                 ours.event(name)["data"])}
    return {"qemu": f"{qemu['major']}.{qemu['minor']}.{qemu['micro']}",
            "all-commands": theirs.of_kind("command"), "all-events": theirs.of_kind("event"),
            "commands": commands, "events": events}


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.splitlines()[2])
    version, entries = ask_qemu(sys.argv[1])
    schema = model.load(sorted((ROOT / "schemas").glob("*.json")))
    recorded = record(version, Shapes(entries), Shapes(introspection.build(schema)))
    print("{")
    for key in ("qemu", "all-commands", "all-events"):
        print(f" {json.dumps(key)}: {json.dumps(recorded[key])},")
    for key, end in (("commands", ","), ("events", "")):
        lines = [f"  {json.dumps(name)}: {json.dumps(shapes)}"
                 for name, shapes in recorded[key].items()]
        print(f" {json.dumps(key)}: {{\n" + ",\n".join(lines) + f"\n }}{end}")
    print("}")


if __name__ == "__main__":
    main()
