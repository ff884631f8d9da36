"""Tests tests/results.py, which tells how many test cases passed: it must not lose a failure."""

import json
import subprocess
import sys

import sources
import tap

CASE = '<testcase name="c"/>'
FAILED = '<testcase name="c"><failure/></testcase>'
ERROR = '<testcase name="c"><error/></testcase>'
SKIPPED = '<testcase name="c"><skipped/></testcase>'
DISABLED = '<testcase name="c" status="notrun"/>'


def counted(programs, suites):
    """Exit status and output for programs {name: result} and suites {name: cases}."""
    junit = "".join(f'<testsuite name="halcyon.{name}">{cases}</testsuite>'
                    for name, cases in suites.items())
    lines = "".join(json.dumps({"name": name, "result": result}) + "\n"
                    for name, result in programs.items())
    root = sources.fixture({"meson-logs/testlog.junit.xml": f"<testsuites>{junit}</testsuites>",
                            "meson-logs/testlog.json": lines})
    result = subprocess.run([sys.executable, sources.ROOT / "tests" / "results.py", root],
                            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return result.returncode, result.stdout


ROWS = [
    ("GoogleTest cases are counted one by one", {"accel": "OK"},
     {"accel.One": CASE * 2 + SKIPPED, "accel.Two": CASE + DISABLED},
     (0, "3 passed, 0 failed, 2 skipped\n")),
    ("so are those of TAP", {"halcyon:lint / layers": "OK"}, {"halcyon:lint / layers": CASE * 4},
     (0, "4 passed, 0 failed, 0 skipped\n")),
    ("failures and errors are failures", {"accel": "FAIL"},
     {"accel.One": CASE + FAILED + ERROR}, (1, "1 passed, 2 failed, 0 skipped\n")),
    ("a crash without a report is one", {"accel": "ERROR"}, {},
     (1, "0 passed, 1 failed, 0 skipped\n")),
    ("so is one after a good report", {"accel": "TIMEOUT"}, {"accel.One": CASE},
     (1, "1 passed, 1 failed, 0 skipped\n")),
    ("a name that begins alike is another", {"accel": "ERROR"}, {"accelerate.One": CASE},
     (1, "0 passed, 1 failed, 0 skipped\n")),
    ("a program without cases is one case", {"smoke": "OK"}, {"halcyon": CASE},
     (0, "1 passed, 0 failed, 0 skipped\n")),
    ("a program can be skipped as a whole", {"smoke": "SKIP"}, {},
     (0, "0 passed, 0 failed, 1 skipped\n")),
    ("no tests at all is a failure", {}, {}, (1, "0 passed, 0 failed, 0 skipped\n")),
]


@tap.test("counting", each=[(row[0], row) for row in ROWS])
def _(row):
    _, programs, suites, expected = row
    tap.equal(counted(programs, suites), expected)


if __name__ == "__main__":
    tap.main()
