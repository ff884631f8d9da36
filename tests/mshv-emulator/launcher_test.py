"""Tests of mshv-emulator, the launcher: what it refuses, and what it gives the program.

Environment: MSHV_EMULATOR_LAUNCHER, its path in the build directory; LIBRARY_FROM_BIN, where the
library is installed as seen from the launcher's directory.
"""

import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "qmp"))  # for tap

import tap  # noqa: E402

LAUNCHER = os.environ.get("MSHV_EMULATOR_LAUNCHER", "mshv-emulator")
LIBRARY = pathlib.Path(LAUNCHER).parent / "libmshv-emulator.so"
FROM_BIN = os.environ.get("LIBRARY_FROM_BIN", "../lib/halcyon")
PYTHON = os.path.realpath(sys.executable)
HOME = {name: value for name, value in os.environ.items()
        if name not in ("LD_PRELOAD", "MSHV_EMULATOR")}
# A launcher with AddressSanitizer lets any library be preloaded before that.
HOME["ASAN_OPTIONS"] = "verify_asan_link_order=0"

# What a program does with the device; `call` is an ioctl's result, or -errno.
DEVICE = """
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
def call(fd, request, argument=0):
    if isinstance(argument, bytes):
        argument = ctypes.create_string_buffer(argument)
    result = libc.ioctl(fd, ctypes.c_ulong(request), argument)
    return -ctypes.get_errno() if result < 0 else result
def map(fd, offset):
    page = libc.mmap(None, ctypes.c_size_t(4096), 3, 1, fd, ctypes.c_long(offset))
    return -ctypes.get_errno() if page == ctypes.c_void_p(-1).value else 0
device = os.open("/dev/mshv", os.O_RDWR)
def partition():
    return call(device, 0x4010b800, struct.pack("<QQ", 1, 0))
"""


def run(*words, launcher=LAUNCHER, env=None, cwd=None):
    """Exit status, output and errors of the launcher."""
    result = subprocess.run([launcher, *map(str, words)], env={**HOME, **(env or {})}, cwd=cwd,
                            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return result.returncode, result.stdout, result.stderr


def run_script(script, *options, **more):
    """What a Python program under the launcher prints."""
    need_kvm()
    status, output, errors = run(*options, PYTHON, "-c", DEVICE + script, **more)
    tap.equal((status, errors), (0, ""), "status and errors")
    return output


def need_kvm():
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        tap.skip("no /dev/kvm")


def directory():
    made = tempfile.TemporaryDirectory(prefix="mshv-emulator-")
    tap.cleanup(made.cleanup)
    return pathlib.Path(made.name)


def executable(contents, name="program"):
    path = directory() / name
    path.write_bytes(contents)
    path.chmod(0o755)
    return path


def elf(bits=2, machine=62, interpreter=False):
    """A header of an ELF program, and one program header: PT_INTERP or PT_LOAD."""
    head = b"\x7fELF" + bytes([bits, 1, 1]) + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return head + struct.pack("<IIQQQQQQ", 3 if interpreter else 1, 5, 0, 0, 0, 0, 0, 0)


WRONG = [
    ("no program", [], "which program?"),
    ("an unknown option", ["--kernels=old", "true"], "unrecognized option '--kernels=old'"),
    ("an option without its value", ["--kernel"], "requires an argument"),
    ("an unknown kernel", ["--kernel=6.12", "true"], "'kernel' cannot be '6.12'"),
    ("an unknown scheduler", ["--scheduler=me", "true"], "'scheduler' cannot be 'me'"),
    ("an unknown fault", ["--fault=rain=1", "true"], "there is no fault 'rain'"),
    ("a fault without a number", ["--fault=no-gva", "true"], "'fault.no-gva' has no value"),
    ("a fault with a word", ["--fault=no-gva=x", "true"], "takes a number, not 'x'"),
]


@tap.test("wrong usage is explained, with 125", each=[(row[0], row) for row in WRONG])
def _(row):
    _, words, expected = row
    status, output, errors = run(*words)
    tap.equal((status, output), (125, ""))
    if expected not in errors or "Try 'mshv-emulator --help'." not in errors:
        raise AssertionError(errors)


@tap.test("a program that is not there is 127")
def _():
    tap.equal(run("/nowhere/program"),
              (127, "", "mshv-emulator: /nowhere/program: No such file or directory\n"))
    tap.equal(run("no-such-program"),
              (127, "", "mshv-emulator: no-such-program: No such file or directory\n"))


UNFIT = [
    ("static", elf(), "is statically linked; only dynamically linked programs take a preloaded "
     "library"),
    ("32 bits", elf(bits=1), "is no program for 64-bit x86"),
    ("another machine", elf(machine=183), "is no program for 64-bit x86"),
    ("cut off", elf()[:40], "is not a whole program"),
    ("cut off later", elf()[:90], "is not a whole program"),
]


@tap.test("a program that takes no library is refused, with 126",
          each=[(row[0], row) for row in UNFIT])
def _(row):
    _, contents, expected = row
    program = executable(contents)
    tap.equal(run(program), (126, "", f"mshv-emulator: {program} {expected}\n"))


@tap.test("what runs a script is looked at")
def _():
    static = executable(elf())
    script = executable(f"#! {static} -x\n".encode())
    tap.equal(run(script), (126, "", f"mshv-emulator: {script} is run by {static}, which is "
                            "statically linked; only dynamically linked programs take a preloaded "
                            "library\n"))


@tap.test("a file that is no program is refused, with 126")
def _():
    path = directory()
    tap.equal(run(path), (126, "", f"mshv-emulator: {path}: Is a directory\n"))
    (path / "data").write_text("data")
    tap.equal(run(path / "data"), (126, "", f"mshv-emulator: {path}/data: Permission denied\n"))


@tap.test("a setuid program is refused, with 126")
def _():
    if os.geteuid() != 0:
        tap.skip("only root can make one for another user")
    program = executable(elf(interpreter=True))
    os.chown(program, 65534, 65534)
    program.chmod(0o4755)
    status, _, errors = run(program)
    tap.equal((status, errors), (126, f"mshv-emulator: {program} runs with more rights than its "
                                 "user; no library is preloaded into that\n"))


@tap.test("a machine without KVM is told so, with 125")
def _():
    unshare = ["unshare", "--mount", "--", "sh", "-c"]
    if subprocess.run([*unshare, "mount --bind /dev/null /dev/kvm"], check=False,
                      stdin=subprocess.DEVNULL, capture_output=True).returncode != 0:
        tap.skip("cannot put something else in the place of /dev/kvm")
    result = subprocess.run([*unshare, 'mount --bind /dev/null /dev/kvm && exec "$0" true',
                             LAUNCHER], check=False, stdin=subprocess.DEVNULL, env=HOME,
                            capture_output=True, text=True)
    tap.equal((result.returncode, result.stderr),
              (125, "mshv-emulator: /dev/kvm, on which /dev/mshv is emulated, is not KVM's\n"))


@tap.test("--help names all options and faults, --version the version")
def _():
    status, output, _ = run("--help")
    tap.equal(status, 0)
    manual = (pathlib.Path(__file__).resolve().parents[2] / "tools" / "mshv-emulator" /
              "mshv-emulator.1").read_text().replace("\\-", "-")
    options = set(re.findall(r"--[a-z][a-z-]*", output))
    tap.equal(len(options), 9, "options")
    for option in options:
        if option not in manual:
            raise AssertionError(f"the manual page does not have {option}")
    if "partial-reps" not in output:
        raise AssertionError(output)
    status, output, _ = run("--version")
    if status != 0 or not re.fullmatch(r"mshv-emulator \(Halcyon\) \d+\.\d+\.\d+\n", output):
        raise AssertionError(output)


@tap.test("the program gets its arguments, and its exit status is the launcher's")
def _():
    need_kvm()
    status, output, errors = run("sh", "-c", 'echo "$0 $1"; exit 7', "--kernel=old", "b")
    tap.equal((status, output, errors), (7, "--kernel=old b\n", ""))


@tap.test("the environment has the options, and keeps a preloaded library")
def _():
    need_kvm()
    path = directory()
    other = "libm.so.6"  # any library
    status, output, errors = run("--kernel=old", "--fault=no-gva=3", "--log=a,b", "sh", "-c",
                                 'echo "$LD_PRELOAD"; echo "$MSHV_EMULATOR"',
                                 env={"LD_PRELOAD": other}, cwd=path)
    tap.equal((status, errors), (0, ""))
    library = os.path.realpath(LIBRARY)
    tap.equal(output, f"{library}:{other}\nkernel=old,fault.no-gva=3,log={path}/a%2Cb\n")


@tap.test("the library is found where it is installed")
def _():
    need_kvm()
    path = directory()
    launcher = path / "bin" / "mshv-emulator"
    launcher.parent.mkdir()
    shutil.copy(LAUNCHER, launcher)
    status, _, errors = run("true", launcher=launcher)
    tap.equal(status, 125)
    if "libmshv-emulator.so is neither beside the launcher nor in" not in errors:
        raise AssertionError(errors)
    library = launcher.parent / FROM_BIN
    library.mkdir(parents=True)
    shutil.copy(LIBRARY, library)
    tap.equal(run("test", "-c", "/dev/mshv", launcher=launcher), (0, "", ""))


@tap.test("the library says what is wrong with the variable, with 125")
def _():
    status, output, errors = run("true", launcher="/usr/bin/env", env={
        "LD_PRELOAD": str(LIBRARY), "MSHV_EMULATOR": "kernel=2"})
    tap.equal((status, output, errors), (125, "", "mshv-emulator: the variable MSHV_EMULATOR: "
                                         "'kernel' cannot be '2'\n"))


@tap.test("a fault comes every Nth time")
def _():
    script = "print([partition() == -4 for _ in range(7)])"
    tap.equal(run_script(script, "--fault=create-eintr=3"),
              "[False, False, True, False, False, True, False]\n")
    tap.equal(run_script(script), "[False, False, False, False, False, False, False]\n")


@tap.test("without a register page only the message page can be mapped")
def _():
    script = """
fd = partition()
call(fd, 0xb800)
vp = call(fd, 0x4004b801, struct.pack("<I", 0))
print(map(vp, 0), map(vp, 4096), map(vp, 8192))
"""
    tap.equal(run_script(script, "--no-register-page"), "-19 0 -19\n")
    tap.equal(run_script(script), "0 0 -19\n")


@tap.test("the log has what was refused and the faults")
def _():
    log = directory() / "log"
    tap.equal(run_script("""
call(device, 0xb842)
call(partition(), 0x4004b801, struct.pack("<I", 256))
partition()
""", f"--log={log}", "--fault=create-eintr=2"), "")
    lines = [re.sub(r"^\d+/\d+ ", "", line) for line in log.read_text().splitlines()]
    tap.equal(lines, ["ioctl 0x0000b842 on descriptor 3: ENOTTY",
                      "ioctl 0x4004b801 on descriptor 4: EINVAL",
                      "fault: CREATE_PARTITION is EINTR"])


@tap.test("the program's children have the device too")
def _():
    tap.equal(run_script(f"""
import subprocess
print(subprocess.run(["{PYTHON}", "-c", 'import os; print(os.open("/dev/mshv", os.O_RDWR) > 0)'],
                     capture_output=True, text=True, check=True).stdout, end="")
print(subprocess.run(["sh", "-c", "test -c /dev/mshv"], check=False).returncode)
"""), "True\n0\n")


if __name__ == "__main__":
    tap.main()
