#!/usr/bin/env python3
"""Turns the schema (schemas/*.json) into C++ and documentation.

usage: generate.py --output-dir DIR FILE.json...

Writes qmp_types.{h,cpp}, qmp_commands.{h,cpp}, qmp_events.{h,cpp} and qmp.md into DIR. What an entry
looks like is described in model.py. A fault in the schema is one line on stderr and exit code 1.
"""
import argparse
import pathlib
import sys

sys.dont_write_bytecode = True  # the source tree stays clean

import emit_commands
import emit_docs
import emit_events
import emit_types
import model


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output-dir", type=pathlib.Path, required=True)
    parser.add_argument("files", type=pathlib.Path, nargs="+")
    options = parser.parse_args()
    try:
        schema = model.load(options.files)
    except model.SchemaError as error:
        sys.exit(f"generate.py: {error}")
    outputs = {
        "qmp_types.h": emit_types.header(schema),
        "qmp_types.cpp": emit_types.source(schema),
        "qmp_commands.h": emit_commands.header(schema),
        "qmp_commands.cpp": emit_commands.source(schema),
        "qmp_events.h": emit_events.header(schema),
        "qmp_events.cpp": emit_events.source(schema),
        "qmp.md": emit_docs.document(schema),
    }
    options.output_dir.mkdir(parents=True, exist_ok=True)
    for name, text in outputs.items():
        (options.output_dir / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
