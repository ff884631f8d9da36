"""Adds up what meson's last test runs found: one line, "N passed, N failed, N skipped".

Counts single cases, of GoogleTest and TAP too: they are in the JUnit log. That log has no case for
a program that crashed or hung before it could report one; testlog.json has each program's result.
"""

import json
import pathlib
import sys
import xml.etree.ElementTree

GOOD = {"OK": "passed", "EXPECTEDFAIL": "passed", "SKIP": "skipped"}


def case_result(case):
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    if case.find("skipped") is not None or case.get("status") == "notrun":
        return "skipped"
    return "passed"


def program_cases(suites, program):
    """Results of the cases that a program reported by itself: in suites PROJECT.PROGRAM[.SUITE]."""
    return [case_result(case) for suite in suites
            if (suite.get("name").partition(".")[2] + ".").startswith(program + ".")
            for case in suite.iter("testcase")]


def count(build):
    logs = pathlib.Path(build, "meson-logs")
    suites = list(xml.etree.ElementTree.parse(logs / "testlog.junit.xml").iter("testsuite"))
    results = []
    for line in (logs / "testlog.json").read_text().splitlines():
        program = json.loads(line)
        cases = program_cases(suites, program["name"])
        overall = GOOD.get(program["result"], "failed")
        if not cases or (overall == "failed" and "failed" not in cases):
            cases.append(overall)
        results += cases
    return results


def main():
    results = [result for build in sys.argv[1:] for result in count(build)]
    print(", ".join(f"{results.count(word)} {word}" for word in ("passed", "failed", "skipped")))
    sys.exit(1 if "failed" in results or not results else 0)


if __name__ == "__main__":
    main()
