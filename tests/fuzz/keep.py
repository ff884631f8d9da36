#!/usr/bin/env python3
"""Replaces a kept corpus by the inputs that reach most, of those it has and those that fuzzing found.

usage: keep.py TARGET KEPT_DIRECTORY FOUND_DIRECTORY

TARGET is a built fuzz target. Of the inputs of up to 1 KiB, those are taken first that reach most of
what the ones before do not; ends at 150 inputs, because every build runs all of them.
"""

import hashlib
import pathlib
import subprocess
import sys
import tempfile

INPUTS = 150
BYTES = 1024


def features_of(target, inputs):
    """What each input reaches: libFuzzer's control file of a merge lists it."""
    with tempfile.TemporaryDirectory() as directory:
        control = pathlib.Path(directory, "control")
        merged = pathlib.Path(directory, "merged")
        merged.mkdir()
        subprocess.run([target, "-merge=1", f"-merge_control_file={control}", "-verbosity=0",
                        f"-max_len={BYTES}", merged, *inputs], check=True)
        lines = control.read_text().splitlines()
    names = lines[2:2 + int(lines[0])]
    reached = {}
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == "FT":
            number, *features = rest.split()
            reached[pathlib.Path(names[int(number)])] = set(map(int, features))
    return reached


def choose(reached):
    """Greedily; of two that add as much, the shorter."""
    left = {path: set(features) for path, features in reached.items()}
    chosen = []
    while left and len(chosen) < INPUTS:
        best = max(left, key=lambda path: (len(left[path]), -path.stat().st_size, path.name))
        new = left.pop(best)
        if not new:
            break
        chosen.append(best)
        for features in left.values():
            features -= new
    return chosen


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__.splitlines()[2])
    target, kept, found = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]
    kept.mkdir(parents=True, exist_ok=True)
    reached = features_of(target, [str(kept), found])
    reached = {path: features for path, features in reached.items() if path.stat().st_size <= BYTES}
    contents = [path.read_bytes() for path in choose(reached)]
    for path in kept.iterdir():
        path.unlink()
    for content in contents:
        (kept / hashlib.sha1(content).hexdigest()[:16]).write_bytes(content)
    print(f"{kept}: {len(contents)} inputs of {len(reached)}, {sum(map(len, contents))} bytes")


if __name__ == "__main__":
    main()
