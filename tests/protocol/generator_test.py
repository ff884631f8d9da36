"""The schema generator: what it refuses, and that the real schema is sound."""
import copy
import json
import pathlib
import re
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCHEMAS = ROOT / "schemas"
sys.path.insert(0, str(SCHEMAS))

import emit_commands
import emit_docs
import introspection
import model

EXAMPLE = {"->": {"execute": "query-thing"}, "<-": {"return": {}}}
GOOD = {
    "area": "Area",
    "summary": "About it.",
    "types": [
        {"enum": "Kind", "since": "1", "summary": "A kind.", "values": {"a-b": "First.", "c": "2."}},
        {"enum": "RunState", "since": "1", "summary": "A state.", "values": {"up": "Up."}},
        {"struct": "Part", "since": "1", "summary": "A part.",
         "members": {"size": {"type": "int", "summary": "Its size."}}},
        {"struct": "Thing", "since": "1", "summary": "A thing.", "base": "Part",
         "members": {"kind": {"type": "Kind", "summary": "Its kind."}}},
        {"union": "Choice", "since": "1", "summary": "One of two.",
         "base": {"kind": {"type": "Kind", "summary": "Which."}},
         "discriminator": "kind", "branches": {"c": "Part"}},
        {"alternate": "Either", "since": "1", "summary": "One or the other.",
         "branches": {"x": "int", "y": "Part"}},
    ],
    "commands": [
        {"name": "query-thing", "since": "1", "summary": "Tells it.",
         "arguments": {"part": {"type": ["Part"], "optional": True, "summary": "Which."}},
         "returns": ["Thing"], "errors": [{"class": "GenericError", "when": "it fails"}],
         "run-states": {"refused": ["up"], "error": "No."}, "emits": ["GONE"],
         "example": EXAMPLE},
    ],
    "events": [
        {"name": "GONE", "since": "1", "summary": "It is gone.", "example": {"<-": {}},
         "data": {"why": {"type": "str", "summary": "Why."}}},
    ],
}
UNDOCUMENTED = {"type": "int"}


def load(document):
    """The schema of a file with that content: an object, or text."""
    text = document if isinstance(document, str) else json.dumps(document)
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "test.json"
        path.write_text(text, encoding="utf-8")
        return model.load([path])


# What is changed in GOOD: a path to a value, the new value (None: remove it), and the error.
FAULTS = [
    (("area",), None, "test.json: 'area' is missing"),
    (("colour",), 1, "test.json: 'colour' is unknown"),
    (("types", 0, "summary"), None, "test.json: enum 'Kind': 'summary' is missing"),
    (("types", 0, "summary"), " ", "test.json: enum 'Kind': 'summary' is empty"),
    (("types", 0, "since"), None, "test.json: enum 'Kind': 'since' is missing"),
    (("types", 0, "enum"), "kind", "test.json: enum 'kind': 'kind' is not a valid name"),
    (("types", 0, "struct"), "Kind", "test.json: a type needs exactly one of "
                                     "enum, struct, union, alternate"),
    (("types", 0, "values", "c"), "", "test.json: enum 'Kind': value 'c' has no documentation"),
    (("types", 2, "members", "size"), UNDOCUMENTED,
     "test.json: struct 'Part', member 'size': 'summary' is missing"),
    (("types", 2, "members", "size", "type"), "integer",
     "test.json: struct 'Part', member 'size': unknown type 'integer'"),
    (("types", 2, "members", "size", "type"), ["int", "str"],
     "test.json: struct 'Part', member 'size': a list type names one type"),
    (("types", 2, "members", "size", "type"), "Part", "test.json: struct 'Part': contains itself"),
    (("types", 2, "members", "size", "type"), "Thing", "test.json: struct 'Thing': contains itself"),
    (("types", 2, "struct"), "Thing",
     "test.json: struct 'Thing': already defined in test.json: struct 'Thing'"),
    (("types", 3, "base"), "Kind", "test.json: struct 'Thing': base 'Kind' is not a struct"),
    (("types", 3, "members", "size"), {"type": "int", "summary": "Again."},
     "test.json: struct 'Thing', member 'size': defined twice"),
    (("types", 4, "discriminator"), "size",
     "test.json: union 'Choice': the discriminator is not a mandatory enum member"),
    (("types", 4, "branches", "d"), "Part",
     "test.json: union 'Choice', branch 'd': not a value of Kind"),
    (("types", 4, "branches", "c"), "Kind",
     "test.json: union 'Choice', branch 'c': 'Kind' is not a struct"),
    (("types", 4, "branches", "c"), "Thing",
     "test.json: union 'Choice', branch 'c', member 'kind': defined twice"),
    (("types", 5, "branches", "z"), "Thing",
     "test.json: alternate 'Either', branch 'z': not told apart by JSON type"),
    (("commands", 0, "summary"), None, "test.json: command 'query-thing': 'summary' is missing"),
    (("commands", 0, "since"), None, "test.json: command 'query-thing': 'since' is missing"),
    (("commands", 0, "errors", 0, "when"), "",
     "test.json: command 'query-thing', errors: 'when' is empty"),
    (("commands", 0, "run-states", "error"), "",
     "test.json: command 'query-thing', run-states: 'error' is empty"),
    (("commands", 0, "example", "<-"), None,
     "test.json: command 'query-thing', example: '<-' is missing"),
    (("commands", 0, "example"), None, "test.json: command 'query-thing': 'example' is missing"),
    (("commands", 0, "example", "->", "execute"), "other",
     "test.json: command 'query-thing': the example is of another command"),
    (("commands", 0, "name"), "Query", "test.json: command 'Query': 'Query' is not a valid name"),
    (("commands", 0, "returns"), "Nothing",
     "test.json: command 'query-thing': unknown type 'Nothing'"),
    (("commands", 0, "arguments"), "Kind",
     "test.json: command 'query-thing': arguments 'Kind' is no struct or union"),
    (("commands", 0, "arguments", "part"), UNDOCUMENTED,
     "test.json: command 'query-thing', member 'part': 'summary' is missing"),
    (("commands", 0, "errors", 0, "class"), "Oops",
     "test.json: command 'query-thing': unknown error class 'Oops'"),
    (("commands", 0, "run-states", "refused"), ["down"],
     "test.json: command 'query-thing': unknown run state 'down'"),
    (("commands", 0, "emits"), ["WENT"], "test.json: command 'query-thing': unknown event 'WENT'"),
    (("commands", 0, "async-ish"), True, "test.json: command 'query-thing': 'async-ish' is unknown"),
    (("events", 0, "summary"), None, "test.json: event 'GONE': 'summary' is missing"),
    (("events", 0, "since"), None, "test.json: event 'GONE': 'since' is missing"),
    (("events", 0, "example"), None, "test.json: event 'GONE': 'example' is missing"),
    (("events", 0, "name"), "Gone", "test.json: event 'Gone': 'Gone' is not a valid name"),
    (("events", 0, "data", "why", "type"), "text",
     "test.json: event 'GONE', member 'why': unknown type 'text'"),
]


def changed(path, value):
    document = copy.deepcopy(GOOD)
    place = document
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = copy.deepcopy(value)
    return document


class Faults(unittest.TestCase):
    def test_the_good_schema_is_good(self):
        schema = load(GOOD)
        self.assertEqual([command.name for command in schema.commands], ["query-thing"])
        self.assertEqual([member.name for member in schema.types["Thing"].members],
                         ["size", "kind"])

    def test_each_fault_is_named_with_file_and_entry(self):
        for path, value, message in FAULTS:
            with self.subTest(path=path, value=value):
                with self.assertRaises(model.SchemaError) as caught:
                    load(changed(path, value))
                self.assertEqual(str(caught.exception), message)

    def test_types_that_lists_lead_back_to_come_in_either_order(self):
        def link(name, other):
            return {"struct": name, "since": "1", "summary": "A link.",
                    "members": {"to": {"type": other, "optional": True, "summary": "The next."}}}

        inner, outer = link("Inner", ["Outer"]), link("Outer", "Inner")
        for types in ([inner, outer], [outer, inner]):
            with self.subTest(first=types[0]["struct"]):
                document = dict(copy.deepcopy(GOOD), types=GOOD["types"] + types)
                names = load(document).type_names()
                self.assertLess(names.index("Inner"), names.index("Outer"))

    def test_duplicate_commands(self):
        document = copy.deepcopy(GOOD)
        document["commands"].append(
            {key: value for key, value in document["commands"][0].items() if key != "arguments"})
        with self.assertRaisesRegex(model.SchemaError, "command 'query-thing': already defined"):
            load(document)

    def test_duplicate_keys(self):
        with self.assertRaisesRegex(model.SchemaError, "test.json: 'area' is there twice"):
            load('{"area": "x", "area": "y", "summary": "z"}')

    def test_text_that_is_not_json(self):
        with self.assertRaisesRegex(model.SchemaError, "^test.json: .*line 1"):
            load("{,}")


class Names(unittest.TestCase):
    def test_names_in_cpp(self):
        self.assertEqual(model.snake("cpu-index"), "cpu_index")
        self.assertEqual(model.snake("UUID"), "uuid")
        self.assertEqual(model.snake("default"), "default_")
        self.assertEqual(model.snake("__org.x_query-y"), "org_x_query_y")
        self.assertEqual(model.pascal("set-action"), "SetAction")
        self.assertEqual(model.constant("guest-reset"), "kGuestReset")
        self.assertEqual(model.constant("x86_64"), "kX8664")
        self.assertEqual(model.cpp_type(["Thing"]), "std::vector<Thing>")


class Introspection(unittest.TestCase):
    def test_describes_only_what_is_reached(self):
        entries = {entry["name"]: entry for entry in introspection.build(load(GOOD))}
        self.assertNotIn("Either", entries)
        self.assertNotIn("alternate", {entry["meta-type"] for entry in entries.values()})
        self.assertEqual(entries["0"], {"name": "0", "meta-type": "object", "members": []})


class RealSchema(unittest.TestCase):
    """What the project's own entries must be, beyond what the generator checks."""

    @classmethod
    def setUpClass(cls):
        cls.files = sorted(SCHEMAS.glob("*.json"))
        cls.schema = model.load(cls.files)
        cls.entries = {entry["name"]: entry for entry in introspection.build(cls.schema)}

    def test_every_file_is_built(self):
        listed = (SCHEMAS / "meson.build").read_text(encoding="utf-8")
        for path in [*self.files, *SCHEMAS.glob("*.py")]:
            self.assertIn(f"'{path.name}'", listed)

    def references(self, value):
        if isinstance(value, list):
            for inner in value:
                yield from self.references(inner)
        elif isinstance(value, dict):
            for key, inner in value.items():
                if key in ("type", "arg-type", "ret-type", "element-type"):
                    yield inner
                elif isinstance(inner, (dict, list)):
                    yield from self.references(inner)

    def test_every_type_resolves(self):
        for name in self.references(list(self.entries.values())):
            self.assertIn(name, self.entries)

    def test_fits_clients_that_limit_a_line(self):
        # go-qemu takes lines of up to 64 KiB.
        self.assertLess(len(json.dumps(list(self.entries.values()))), 64 * 1024)

    def test_handlers_have_distinct_names(self):
        names = [emit_commands.handler_name(command) for command in self.schema.commands]
        self.assertEqual(len(names), len(set(names)))

    def test_every_entry_is_in_the_reference(self):
        text = emit_docs.document(self.schema)
        for entry in [*self.schema.commands, *self.schema.events]:
            self.assertIn(f"\n### {entry.name}\n", text)
        for part in re.split(r"\n##+ ", text):
            if part.partition("\n")[0] in {command.name for command in self.schema.commands}:
                for wanted in (" (since ", "\nErrors:", "\nLegal:", "\n```\n-> {", "\n<- {"):
                    self.assertIn(wanted, part)

    def check(self, value, reference, where):
        """That an example's value is of a type."""
        if isinstance(reference, list):
            self.assertIsInstance(value, list, where)
            for inner in value:
                self.check(inner, reference[0], where)
            return
        if reference in model.BUILTINS:
            return
        made = self.schema.types[reference]
        if made.kind == "enum":
            self.assertIn(value, made.values, where)
        elif made.kind == "alternate":
            self.assertNotIsInstance(value, dict, where)
        else:
            self.check_members(value, self.members_of(made, value), where)

    def members_of(self, made, value):
        """Those of a struct; those of a union with the branch that the value selects."""
        branch = made.branches.get(value.get(made.discriminator)) if made else None
        members = made.members if made else []
        return members + (self.schema.types[branch].members if branch else [])

    def check_members(self, value, members, where):
        known = {member.name: member for member in members}
        for member in members:
            if member.name in value:
                self.check(value[member.name], member.type, f"{where}.{member.name}")
            else:
                self.assertTrue(member.optional, f"{where}.{member.name}")
        self.assertLessEqual(value.keys(), known.keys(), where)

    def test_examples_fit_the_schema(self):
        for command in self.schema.commands:
            request, reply = command.entry["example"]["->"], command.entry["example"]["<-"]
            arguments = request.get("arguments", {})
            self.check_members(arguments, self.members_of(command.arguments, arguments),
                               command.name)
            if command.returns is None:
                self.assertEqual(reply, {"return": {}}, command.name)
            else:
                self.check(reply["return"], command.returns, command.name)
        for event in self.schema.events:
            message = event.entry["example"]["<-"]
            self.assertEqual(message["event"], event.name)
            self.check_members(message.get("data", {}), event.members, event.name)


if __name__ == "__main__":
    unittest.main()
