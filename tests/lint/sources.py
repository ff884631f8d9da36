"""What the lints look at: the project's own files, and C++ text without what is not code."""

import pathlib
import re
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "qmp"))  # for tap

import tap  # noqa: E402

CODE_FOLDERS = ["base", "accel", "devices", "protocol", "machine", "daemon", "ctl", "tools"]
OTHER_FOLDERS = ["schemas", "tests", "bench"]
CPP = (".h", ".cpp")


def files(root, folders, suffixes):
    """The files below `folders`, sorted, relative to `root`."""
    return sorted(path.relative_to(root)
                  for folder in folders
                  for path in (root / folder).rglob("*")
                  if path.suffix in suffixes and path.is_file())


def fixture(contents):
    """A tree of files in a temporary directory, for a lint to find fault with."""
    directory = tempfile.TemporaryDirectory(prefix="halcyon-lint-")
    tap.cleanup(directory.cleanup)
    root = pathlib.Path(directory.name)
    for name, text in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


_NOT_CODE = re.compile(
    r'R"(?P<mark>[^()\\\s]*)\(.*?\)(?P=mark)"'  # raw string
    r'|"(?:\\.|[^"\\\n])*"'
    r"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])*'"  # character, not a digit separator
    r"|//[^\n]*"
    r"|/\*.*?\*/", re.DOTALL)


def _blank(match):
    text = match.group(0)
    return ('""' if text.startswith(('"', "R")) else "") + "\n" * text.count("\n")


def code_only(text):
    """`text` with empty strings and without comments; the lines stay where they are."""
    return _NOT_CODE.sub(_blank, text)


def report(problems):
    """Fails the running test with all problems, one a line."""
    if problems:
        raise AssertionError("\n" + "\n".join(problems))
