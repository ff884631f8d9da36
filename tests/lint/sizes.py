"""Lint: no file above 800 lines, no function above 60.

C++ functions are found by their braces; this relies on the project's clang-format style, where a
body's brace has a space before it and an initialiser's has none.
"""

import ast
import re

import sources
import tap

FILE_LINES = 800
FUNCTION_LINES = 60

_PREPROCESSOR = re.compile(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", re.MULTILINE)
_SCOPE = re.compile(r"^(?:(?:export|inline|static|typedef|const|constexpr)\s+)*"
                    r"(?:namespace|class|struct|union|enum|extern)\b(?!.*\)\s*(?:const\s*)?$)",
                    re.DOTALL)
_DECORATION = re.compile(r"\[\[.*?\]\]|\balignas\s*\([^)]*\)|^\s*(?:public|private|protected)\s*:",
                         re.DOTALL)
_TEMPLATE = re.compile(r"^template\s*<[^;{}]*>\s*(?=class|struct|union)", re.DOTALL)
_NAME = re.compile(r"([\w:~]+|operator\S+)\s*\(")


def brace_kind(header, before):
    """What an opening brace outside of functions opens: "scope", "function" or "value"."""
    header = _TEMPLATE.sub("", _DECORATION.sub("", header).strip())
    if _SCOPE.match(header):
        return "scope"
    if not before.isspace() or header.endswith("=") or ")" not in header:
        return "value"
    return "function"


def function_name(header):
    """TEST's arguments, or the name before the first parenthesis."""
    test = re.match(r"\s*TEST(?:_[FP])?\s*\(([^)]*)\)", header)
    if test:
        return re.sub(r"\s*,\s*", ".", test.group(1).strip())
    names = _NAME.findall(_DECORATION.sub("", header))
    return names[0] if names else "?"


def cpp_functions(text):
    """(name, first line, number of lines) of every function with a body."""
    text = _PREPROCESSOR.sub(lambda m: "\n" * m.group(0).count("\n"), sources.code_only(text))
    found = []
    stack = []
    start = 0  # of the statement at hand
    for match in re.finditer(r"[{};]", text):
        position, token = match.start(), match.group(0)
        in_scope = all(kind == "scope" for kind, _ in stack)
        if token == "{":
            kind = brace_kind(text[start:position], text[position - 1:position] or " ")
            stack.append((kind if in_scope else "inner", start))
            if in_scope and kind == "scope":
                start = position + 1
        elif token == "}" and stack:
            kind, begin = stack.pop()
            if kind == "function":
                first = begin + len(text[begin:]) - len(text[begin:].lstrip())
                found.append((function_name(text[begin:position]),
                              text.count("\n", 0, first) + 1,
                              text.count("\n", first, position) + 1))
            if kind in ("scope", "function"):
                start = position + 1
        elif token == ";" and in_scope:
            start = position + 1
    return found


def python_functions(text):
    return [(node.name, node.lineno, node.end_lineno - node.lineno + 1)
            for node in ast.walk(ast.parse(text))
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def check_file(root, path):
    """(number of functions, problems)."""
    text = (root / path).read_text()
    problems = []
    lines = text.count("\n")
    if lines > FILE_LINES:
        problems.append(f"{path}:{lines}: the file has {lines} lines; {FILE_LINES} is the most")
    functions = (python_functions if path.suffix == ".py" else cpp_functions)(text)
    problems += [f"{path}:{first}: {name} has {length} lines; {FUNCTION_LINES} is the most"
                 for name, first, length in functions if length > FUNCTION_LINES]
    return len(functions), problems


def check_tree(root):
    """(number of files, number of functions, problems)."""
    folders = [*sources.CODE_FOLDERS, *sources.OTHER_FOLDERS]
    paths = sources.files(root, folders, (*sources.CPP, ".py"))
    results = [check_file(root, path) for path in paths]
    return (len(paths), sum(count for count, _ in results),
            [problem for _, problems in results for problem in problems])


@tap.test("the project keeps to its sizes")
def _():
    count, functions, problems = check_tree(sources.ROOT)
    if count < 50 or functions < 200:
        raise AssertionError(f"only {count} files with {functions} functions were seen")
    sources.report(problems)


@tap.test("a long file is found")
def _():
    root = sources.fixture({"base/a.h": "// line\n" * 801, "base/b.h": "// line\n" * 800})
    tap.equal(check_tree(root)[2],
              ["base/a.h:801: the file has 801 lines; 800 is the most"])


BODY = "    work();\n"
SHAPES = [
    ("a function", "void f(int a) {\nBODY}\n", "f"),
    ("a member", "namespace n {\nclass C : public B {\npublic:\n    int f() const override {\nBODY"
                 "    }\n    int a_{0};\n};\n}\n", "f"),
    ("a constructor with initialisers", "C::C(int a)\n    : a_{a}, b_(make({1, 2})) {\nBODY}\n",
     "C::C"),
    ("a template", "template <typename T>\nResult<T> f(T a) requires(sizeof(T) > 1) {\nBODY}\n",
     "f"),
    ("a test", "TEST(Suite, Name) {\nBODY}\n", "Suite.Name"),
    ("one after an array", "int a[] = {1, 2};\nstruct S {\n    int a;\n};\nvoid f() {\nBODY}\n",
     "f"),
    ("one with braces in text", "void f() {\n    g(\"}\", '}', R\"x(})x\");  // }\nBODY}\n", "f"),
    ("one with digit separators", "void f() {\n    g(1'000'000);\nBODY}\n", "f"),
    ("one after a macro", "#define M(a) \\\n    do {     \\\n        a\nvoid f() {\nBODY}\n", "f"),
    ("one with lambdas and blocks",
     "void f() {\n    g([] { h(); });\n    if (a) {\n        h();\n    }\nBODY}\n", "f"),
    ("a C one", "extern \"C\" {\nvoid f() {\nBODY}\n}\n", "f"),
]


@tap.test("a long C++ function is found", each=[(row[0], row) for row in SHAPES])
def _(row):
    _, shape, name = row
    for repeat, expected in [(70, 1), (3, 0)]:
        root = sources.fixture({"base/a.cpp": shape.replace("BODY", BODY * repeat)})
        _, functions, problems = check_tree(root)
        tap.equal(functions, 1, "functions")
        tap.equal(len(problems), expected, "problems")
        if expected and f": {name} has 7" not in problems[0]:
            raise AssertionError(problems[0])


@tap.test("the limit is exact")
def _():
    shape = "\nint f() {\nBODY}\n"
    root = sources.fixture({"base/a.cpp": shape.replace("BODY", BODY * 58)})
    tap.equal(check_tree(root), (1, 1, []))
    root = sources.fixture({"base/a.cpp": shape.replace("BODY", BODY * 59)})
    tap.equal(check_tree(root)[2], ["base/a.cpp:2: f has 61 lines; 60 is the most"])


@tap.test("a long Python function is found")
def _():
    root = sources.fixture({"tests/a.py": "def f():\n" + "    pass\n" * 60,
                            "tests/b.py": "def f():\n" + "    pass\n" * 59})
    tap.equal(check_tree(root), (2, 2, ["tests/a.py:1: f has 61 lines; 60 is the most"]))


if __name__ == "__main__":
    tap.main()
