"""Lint: every header compiles by itself, twice in a row.

Takes the flags from the build directory's compile_commands.json ($HALCYON_BUILD), as they are for a
source file near the header. Objects go through ccache where the build does.
"""

import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import subprocess

import sources
import tap

JOBS = 2
BUILD = pathlib.Path(os.environ.get("HALCYON_BUILD", sources.ROOT / "build"))


def near(header, source):
    """How many folders two files share."""
    return len(pathlib.Path(os.path.commonpath([header.parent, source.parent])).parts)


def commands(build):
    """Source file, relative to the project: the compiler and flags that do not name files."""
    found = {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        source = pathlib.Path(entry["directory"], entry["file"]).resolve()
        if source.suffix != ".cpp" or not source.is_relative_to(sources.ROOT):
            continue
        words = shlex.split(entry["command"])
        flags = [word for before, word in zip(["", *words], words)
                 if not {"-o", "-MF", "-MQ"} & {before, word}
                 and word not in ("-c", "-MD", entry["file"])]
        found[source.relative_to(sources.ROOT)] = flags
    return found


def compile_alone(header, flags, directory, cwd):
    """None, or what the compiler says about a file with nothing but `header`, twice."""
    source = directory / (re.sub(r"\W", "_", str(header)) + ".cpp")
    text = f'#include "{header}"\n' * 2
    if not source.exists() or source.read_text() != text:
        source.write_text(text)
    words = [*flags, "-fdiagnostics-color=never", "-O0", "-g0", "-Werror", "-c", str(source), "-o",
             str(source) + ".o"]
    result = subprocess.run(words, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True,
                            text=True, check=False)
    if result.returncode == 0:
        return None
    errors = [line for line in result.stderr.splitlines() if "error" in line] or [result.stderr]
    return f"{header}:1: does not compile by itself: {errors[0]}"


def check(headers, known, directory, cwd):
    """Problems of all `headers`, compiled with the flags of the nearest source of `known`."""
    directory.mkdir(exist_ok=True)

    def one(header):
        source = max(known, key=lambda candidate: near(header, candidate))
        return compile_alone(header, known[source], directory, cwd)

    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        return [problem for problem in pool.map(one, headers) if problem]


@tap.test("every header compiles by itself", timeout=600)
def _():
    known = commands(BUILD)
    built = {path.parts[0] for path in known}
    headers = [path for path in sources.files(sources.ROOT, sources.CODE_FOLDERS, [".h"])
               if path.parts[0] in built]
    if len(headers) < 30 or len(known) < 20:
        raise AssertionError(f"only {len(headers)} headers and {len(known)} sources were seen")
    sources.report(check(headers, known, BUILD / "header-checks", BUILD))


FLAWED = [
    ("one that needs another first", "#pragma once\nstd::string a();\n"),
    ("one without a guard", "struct A {};\n"),
]


@tap.test("a flawed header is found", each=[(row[0], row) for row in FLAWED])
def _(row):
    root = sources.fixture({"base/good.h": "#pragma once\n#include <string>\nstd::string a();\n",
                            "base/bad.h": row[1]})
    flags = next(iter(commands(BUILD).values()))
    known = {pathlib.Path("base/a.cpp"): [flags[0], *(flags[1:2] if "ccache" in flags[0] else []),
                                          f"-I{root}", "-std=c++20"]}
    headers = [pathlib.Path("base/good.h"), pathlib.Path("base/bad.h")]
    problems = check(headers, known, root / "objects", root)
    tap.equal([problem.split(":")[0] for problem in problems], ["base/bad.h"])


@tap.test("a header takes the flags of its neighbour")
def _():
    paths = [pathlib.Path(p) for p in ("base/a.cpp", "accel/a.cpp", "accel/kvm/a.cpp")]
    for index, name in [(0, "base/b.h"), (1, "accel/b.h"), (2, "accel/kvm/b.h")]:
        header = pathlib.Path(name)
        tap.equal(max(paths, key=lambda path, to=header: near(to, path)), paths[index], name)


if __name__ == "__main__":
    tap.main()
