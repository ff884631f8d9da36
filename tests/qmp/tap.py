"""A small test runner that speaks TAP (https://testanything.org, version 13), which meson reads.

A test file decorates functions with @test("what must hold") and ends with tap.main(). One function
is one TAP line; with `each` it is one line per value, so that each behaviour is counted by itself:

    @test("quit answers and the process ends with 0", each=ACCELS)
    def _(accel): ...

A test fails by any exception, is skipped by tap.skip(reason), and is given up after its `timeout`
(SIGALRM, so also when it hangs in a system call). Functions passed to tap.cleanup() run after the
test, last one first, whatever became of it.
"""

import argparse
import os
import signal
import sys
import time
import traceback


class Skip(Exception):
    """Raised by skip()."""


class TestTimeout(Exception):
    """The test did not end in its time."""


_tests = []
_cleanups = []


def test(name, each=None, timeout=20.0):
    """Registers a test, or one for each value of `each` (a value may be (label, object))."""

    def register(function):
        if each is None:
            _tests.append((name, function, (), timeout))
        else:
            for item in each:
                label, value = item if isinstance(item, tuple) else (item, item)
                _tests.append((f"{name} [{label}]", function, (value,), timeout))
        return function

    return register


def skip(reason):
    """Ends the running test as skipped; the reason appears in the log."""
    raise Skip(reason)


def cleanup(function):
    """Runs `function` after the running test."""
    _cleanups.append(function)


def _shown(value):
    text = repr(value)
    return text if len(text) <= 1000 else f"{text[:500]} ... {text[-200:]} ({len(text)} characters)"


def equal(actual, expected, what="value"):
    """Fails unless both are equal, showing both."""
    if actual != expected:
        raise AssertionError(f"{what}: expected {_shown(expected)}, got {_shown(actual)}")


def wait_until(condition, what, timeout=5.0):
    """Waits for what no event announces; fails after `timeout` seconds. Returns the true value."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(0.002)


def _on_alarm(_signal, _frame):
    raise TestTimeout("the test did not end in its time")


def _run_cleanups():
    while _cleanups:
        function = _cleanups.pop()
        try:
            function()
        except Exception:  # A failed clean-up must not hide the test's own result.
            diagnose(traceback.format_exc())


def diagnose(text):
    """Prints TAP diagnostics."""
    for line in text.rstrip().splitlines():
        print("# " + line)


def _run_one(number, name, function, arguments, timeout):
    started = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, timeout)
    try:
        function(*arguments)
        result = f"ok {number} - {name}"
    except Skip as reason:
        result = f"ok {number} - {name} # SKIP {reason}"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        signal.setitimer(signal.ITIMER_REAL, 0)
        diagnose(traceback.format_exc())
        result = f"not ok {number} - {name}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    signal.setitimer(signal.ITIMER_REAL, 30)
    try:
        _run_cleanups()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    print(result, flush=True)
    took = time.monotonic() - started
    if took > 3:
        diagnose(f"took {took:.1f} s")
    return not result.startswith("not ok")


def _one_line(name):
    """A name as TAP and the XML made of it can have it."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in name.replace("#", "no."))


def main():
    """Runs the registered tests; exits 0 only if none failed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("filter", nargs="*", help="run only the tests whose name has one of these")
    options = parser.parse_args()
    tests = [t for t in _tests
             if not options.filter or any(word in t[0] for word in options.filter)]
    signal.signal(signal.SIGALRM, _on_alarm)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    os.environ.pop("NOTIFY_SOCKET", None)
    print(f"TAP version 13\n1..{len(tests)}", flush=True)
    failed = 0
    for number, (name, function, arguments, timeout) in enumerate(tests, 1):
        failed += not _run_one(number, _one_line(name), function, arguments, timeout)
    if failed:
        diagnose(f"{failed} of {len(tests)} failed")
    sys.exit(1 if failed else 0)
