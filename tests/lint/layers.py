"""Lint: which folder may include what. The table below is the rule; everything else reads it."""

import re

import sources
import tap

# Who may include whose headers, the folder's own aside.
FOLDERS = {
    "base": [],
    "accel": ["base"],
    "devices": ["base"],
    "protocol": ["base"],
    "machine": ["base", "devices", "accel"],
    "daemon": ["base", "accel", "devices", "protocol", "machine", "schemas"],
    "ctl": ["base", "protocol"],
    "tools": [],
}
# What the preloaded emulator takes of ours: the ABI that it serves, and nothing that has to be
# linked.
SHARED_WITH_TOOLS = r"accel/mshv/mshv_(abi|hypercalls|messages)\.h|base/(result|types)\.h"

# Headers that only some may include: what they are, a pattern, and the places.
BACKENDS = "accel/<name>"
RESTRICTED = [
    ("hypervisor headers", r"(linux|asm)/kvm.*|linux/mshv.*|hyperv/.*|x86emu\.h",
     [BACKENDS, "tools"]),
    ("Zydis", r"Zydis/.*", [BACKENDS, "daemon", "tools"]),
    ("ioctls", r"sys/ioctl\.h", [BACKENDS, "daemon", "tools"]),
    ("sockets", r"sys/(socket|un)\.h|netinet/.*|arpa/.*|netdb\.h",
     ["daemon", "ctl"]),
    ("Asio and Boost", r"boost/.*|asio.*", ["daemon"]),
    ("systemd", r"systemd/.*", ["daemon"]),
    ("JSON", r"nlohmann/.*", ["protocol", "daemon", "ctl"]),
    ("readline", r"readline/.*", ["ctl"]),
    ("spdlog", r"spdlog/.*", ["base", "machine", "daemon"]),
]
# Headers that schemas/generate.py makes, in the build directory.
GENERATED = r"qmp_\w+\.h"
# Libraries return errors; only these log.
MAY_LOG = ["base", "machine", "daemon"]
# The rest of <directory/...>: the C library's and the kernel's.
SYSTEM_DIRECTORIES = ["sys", "linux", "asm"]

_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^">]+)[">]', re.MULTILINE)
_HYPERVISOR_NAME = re.compile(r"\b(?:KVM|MSHV|HVCALL)_[A-Z_]+\b")


def place_of(path):
    """The rule's name for a file's folder: "base", or "accel/<name>" for a backend's."""
    parts = path.parts
    return BACKENDS if parts[0] == "accel" and len(parts) > 2 else parts[0]


def check_own(path, header):
    """What is wrong with including our own `header` in `path`, or None."""
    if re.fullmatch(GENERATED, header):
        header = "schemas/" + header
    folder, _, rest = header.partition("/")
    if not rest or folder not in [*FOLDERS, "schemas"]:
        return "our headers are included from the root, as \"folder/file.h\""
    if header == "base/log.h" and path.parts[0] not in MAY_LOG:
        return f"only {', '.join(MAY_LOG)} log; return an Error"
    if path.parts[0] == "tools" and re.fullmatch(SHARED_WITH_TOOLS, header):
        return None
    if folder != path.parts[0]:
        if folder not in FOLDERS[path.parts[0]]:
            allowed = ", ".join(FOLDERS[path.parts[0]]) or "nothing of ours"
            return f"{path.parts[0]}/ may include {allowed}"
        if folder == "accel" and "/" in rest and path.parts[0] != "daemon":
            return "backends are reached through accel's top-level headers"
    elif folder == "accel" and "/" in rest and place_of(path) == BACKENDS:
        if rest.split("/")[0] != path.parts[1]:
            return "a backend does not include another"
    elif folder == "accel" and "/" in rest and path.name != "registry.cpp":
        return "only accel/registry.cpp knows the backends"
    return None


def check_foreign(path, header):
    """What is wrong with including <header> in `path`, or None."""
    for what, pattern, places in RESTRICTED:
        if re.fullmatch(pattern, header):
            return None if place_of(path) in places else f"{what} only in {', '.join(places)}"
    directory = header.rpartition("/")[0].split("/")[0]
    if directory and directory not in SYSTEM_DIRECTORIES:
        return f"<{directory}/> is no library that tests/lint/layers.py knows"
    return None


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def check_file(root, path):
    text = (root / path).read_text()
    problems = []
    for match in _INCLUDE.finditer(text):
        check = check_own if match.group(1) == '"' else check_foreign
        problem = check(path, match.group(2))
        if problem:
            problems.append(f"{path}:{line_of(text, match.start(1))}: "
                            f"includes {match.group(2)}: {problem}")
    if place_of(path) not in (BACKENDS, "tools"):
        code = sources.code_only(text)
        problems += [f"{path}:{line_of(code, match.start())}: uses {match.group(0)}: "
                     f"hypervisor ioctls only in {BACKENDS}"
                     for match in _HYPERVISOR_NAME.finditer(code)]
    return problems


def check_tree(root):
    """(number of files, number of includes in them, problems)."""
    paths = sources.files(root, FOLDERS, sources.CPP)
    includes = sum(len(_INCLUDE.findall((root / path).read_text())) for path in paths)
    return len(paths), includes, [problem for path in paths for problem in check_file(root, path)]


@tap.test("the project keeps to its layers")
def _():
    count, includes, problems = check_tree(sources.ROOT)
    if count < 30 or includes < 100:
        raise AssertionError(f"only {count} files with {includes} includes were seen")
    sources.report(problems)


ALLOWED = [
    ("base/a.cpp", "<spdlog/spdlog.h>"),
    ("base/a.cpp", '"base/log.h"'),
    ("accel/a.h", '"base/result.h"'),
    ("accel/registry.cpp", '"accel/kvm/kvm_accelerator.h"'),
    ("accel/kvm/a.cpp", "<linux/kvm.h>"),
    ("accel/kvm/a.cpp", '"accel/run_entry.h"'),
    ("accel/soft/a.cpp", "<x86emu.h>"),
    ("accel/mshv/a.cpp", "<Zydis/Zydis.h>"),
    ("daemon/a.cpp", "<Zydis/Zydis.h>"),
    ("devices/a.cpp", "<vector>"),
    ("protocol/a.h", "<nlohmann/json.hpp>"),
    ("machine/a.cpp", '"accel/vcpu.h"'),
    ("machine/a.cpp", "<sys/syscall.h>"),
    ("daemon/a.cpp", "<boost/asio.hpp>"),
    ("daemon/a.cpp", '"protocol/framer.h"'),
    ("daemon/a.cpp", '"qmp_commands.h"'),
    ("ctl/a.cpp", '"protocol/framer.h"'),
    ("ctl/a.cpp", "<sys/socket.h>"),
    ("ctl/a.cpp", "<readline/readline.h>"),
    ("tools/mshv-emulator/a.cpp", '"accel/mshv/mshv_abi.h"'),
    ("tools/mshv-emulator/a.cpp", "<linux/kvm.h>"),
    ("tools/mshv-emulator/a.cpp", '"tools/mshv-emulator/b.h"'),
]
FORBIDDEN = [
    ("base/a.cpp", '"machine/machine.h"', "base/ may include nothing of ours"),
    ("accel/a.cpp", '"machine/machine.h"', "accel/ may include base"),
    ("accel/a.cpp", "<linux/kvm.h>", "hypervisor headers only in accel/<name>"),
    ("accel/a.cpp", '"accel/kvm/kvm_vcpu.h"', "only accel/registry.cpp"),
    ("accel/kvm/a.cpp", '"accel/mshv/mshv_abi.h"', "a backend does not include another"),
    ("accel/kvm/a.cpp", '"devices/device.h"', "accel/ may include base"),
    ("accel/a.cpp", "<Zydis/Zydis.h>", "Zydis only in"),
    ("devices/a.h", '"accel/vcpu.h"', "devices/ may include base"),
    ("devices/a.h", '"base/log.h"', "return an Error"),
    ("devices/a.h", "<spdlog/spdlog.h>", "spdlog only in"),
    ("protocol/a.h", "<sys/socket.h>", "sockets only in daemon, ctl"),
    ("protocol/a.h", "<boost/asio.hpp>", "Asio and Boost only in daemon"),
    ("protocol/a.h", '"machine/machine.h"', "protocol/ may include base"),
    ("machine/a.cpp", '"accel/kvm/kvm_vcpu.h"', "top-level headers"),
    ("machine/a.cpp", '"protocol/framer.h"', "machine/ may include base, devices, accel"),
    ("machine/a.cpp", '"qmp_types.h"', "machine/ may include base, devices, accel"),
    ("machine/a.cpp", "<nlohmann/json.hpp>", "JSON only in protocol, daemon, ctl"),
    ("daemon/a.cpp", "<linux/mshv.h>", "hypervisor headers only in accel/<name>"),
    ("daemon/a.cpp", '"machine.h"', "from the root"),
    ("daemon/a.cpp", "<fancy/library.h>", "no library that"),
    ("daemon/a.cpp", '"tools/mshv-emulator/trap.h"', "daemon/ may include"),
    ("daemon/a.cpp", "<readline/readline.h>", "readline only in ctl"),
    ("daemon/a.cpp", '"ctl/format.h"', "daemon/ may include"),
    ("ctl/a.cpp", '"daemon/version.h"', "ctl/ may include base, protocol"),
    ("ctl/a.cpp", '"base/log.h"', "return an Error"),
    ("tools/mshv-emulator/a.cpp", '"accel/vcpu.h"', "tools/ may include nothing of ours"),
    ("tools/mshv-emulator/a.cpp", '"accel/mshv/instruction.h"', "tools/ may include nothing"),
    ("tools/mshv-emulator/a.cpp", '"base/unique_fd.h"', "tools/ may include nothing of ours"),
    ("tools/mshv-emulator/a.cpp", "<spdlog/spdlog.h>", "spdlog only in"),
]


def names(row):
    return f"{row[0]} with {row[1]}"


@tap.test("an allowed include passes", each=[(names(row), row) for row in ALLOWED])
def _(row):
    path, include = row
    root = sources.fixture({path: f"// a file\n#include {include}\n"})
    tap.equal(check_tree(root), (1, 1, []))


@tap.test("a forbidden include is found", each=[(names(row), row) for row in FORBIDDEN])
def _(row):
    path, include, reason = row
    root = sources.fixture({path: f"// a file\n#include {include}\n"})
    _, _, problems = check_tree(root)
    tap.equal(len(problems), 1, "problems")
    if not problems[0].startswith(f"{path}:2: ") or reason not in problems[0]:
        raise AssertionError(problems[0])


@tap.test("a hypervisor's ioctl outside a backend is found, in a comment it is not")
def _():
    root = sources.fixture({"machine/a.cpp": "// KVM_RUN\nint a = KVM_RUN;\n",
                            "accel/kvm/a.cpp": "int a = KVM_RUN;\n"})
    _, _, problems = check_tree(root)
    tap.equal(problems, ["machine/a.cpp:2: uses KVM_RUN: hypervisor ioctls only in accel/<name>"])


if __name__ == "__main__":
    tap.main()
