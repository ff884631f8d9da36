"""The schema as Python objects: reading, checking, looking up.

A schema file is one JSON object:

  area      the heading under which its entries are documented
  summary   one or two sentences about the area
  types     a list of type entries, each with one of these keys holding its name:
      enum       values: {value: documentation}
      struct     members; optionally base: a struct whose members come first
      union      base: members; discriminator: one of them, of an enum type without `optional`;
                 branches: {value: struct}
      alternate  branches: {name: type}, of which no two look alike in JSON
  commands  a list of entries:
      name, summary, since, example: {"->": request, "<-": response} (mandatory)
      description            more than the summary says
      arguments              members, or the name of a struct or union
      returns                a type (default: nothing)
      errors                 [{class, when}]: what a client can tell apart
      run-states             {refused: [RunState...], error: what the client is told}
      emits                  [event...]: sent before the reply
      preconfig, oob         true: allowed before machine initialisation, out of band
      async                  true: the handler takes a Reply and answers when it likes
      session                true: the handler takes the Session too
      negotiation            true: understood before capabilities are negotiated
      while-quitting         true: answered while a quit is under way
      constant               "commands" or "introspection": the answer is generated, no handler
      features               {name: documentation}, as in QAPI ("unstable", "deprecated")
  events    a list of entries: name, summary, since, example (mandatory), description, data: members

Every type has `since` and `summary`. Members are {name: {type, summary[, optional][, since]}}; a
type is a name, or a list of one name for a JSON array. Names are spelled as on the wire.
"""
import dataclasses
import json
import re
import textwrap

# Built-in types: C++ type and introspection name.
BUILTINS = {
    "str": ("std::string", "str"),
    "bool": ("bool", "bool"),
    "number": ("double", "number"),
    "int": ("int64_t", "int"),
    "int8": ("int8_t", "int"),
    "int16": ("int16_t", "int"),
    "int32": ("int32_t", "int"),
    "int64": ("int64_t", "int"),
    "uint8": ("uint8_t", "int"),
    "uint16": ("uint16_t", "int"),
    "uint32": ("uint32_t", "int"),
    "uint64": ("uint64_t", "int"),
    "size": ("uint64_t", "int"),
    "null": ("std::nullptr_t", "null"),
    "any": ("Json", "any"),
}
# The JSON type of each introspection name.
JSON_TYPES = {
    "str": "string", "bool": "boolean", "number": "number", "int": "int", "null": "null",
    "any": "value",
}
ERROR_CLASSES = {
    "GenericError": "kGenericError",
    "CommandNotFound": "kCommandNotFound",
    "DeviceNotActive": "kDeviceNotActive",
    "DeviceNotFound": "kDeviceNotFound",
    "KVMMissingCap": "kKvmMissingCap",
}
RUN_STATE_TYPE = "RunState"
MAX_RUN_STATES = 32  # RunStateSet in protocol/dispatcher.h

TYPE_KINDS = ("enum", "struct", "union", "alternate")
FILE_KEYS = {"area", "summary", "types", "commands", "events"}
TYPE_KEYS = {
    "enum": {"enum", "since", "summary", "values"},
    "struct": {"struct", "since", "summary", "base", "members"},
    "union": {"union", "since", "summary", "base", "discriminator", "branches"},
    "alternate": {"alternate", "since", "summary", "branches"},
}
COMMAND_KEYS = {
    "name", "summary", "description", "since", "arguments", "returns", "errors", "run-states",
    "emits", "preconfig", "oob", "async", "session", "negotiation", "while-quitting", "constant",
    "features", "example",
}
EVENT_KEYS = {"name", "summary", "description", "since", "data", "example"}
MEMBER_KEYS = {"type", "summary", "optional", "since"}
CONSTANTS = ("commands", "introspection")

# QAPI's rules for names: an optional vendor prefix, then letters, digits, '-' and '_'.
VENDOR = r"(?:__[a-z0-9.-]+_)?"
COMMAND_NAME = re.compile(VENDOR + r"[a-z][a-z0-9_-]*")
EVENT_NAME = re.compile(r"(?:__[A-Z0-9.-]+_)?[A-Z][A-Z0-9_]*")
MEMBER_NAME = re.compile(VENDOR + r"[A-Za-z][A-Za-z0-9_-]*")
VALUE_NAME = re.compile(VENDOR + r"[A-Za-z0-9][A-Za-z0-9_-]*")
TYPE_NAME = re.compile(r"[A-Z][A-Za-z0-9]*")


class SchemaError(Exception):
    """A fault of the schema, with the file and the entry."""


@dataclasses.dataclass
class Member:
    name: str
    type: object  # a name, or a list of one name
    optional: bool
    summary: str
    since: str


@dataclasses.dataclass
class Type:
    """kind is one of TYPE_KINDS. Of the other fields each kind uses those that it needs."""

    kind: str
    name: str
    where: str
    entry: dict
    members: list = dataclasses.field(default_factory=list)  # with those of the base
    values: dict = dataclasses.field(default_factory=dict)
    discriminator: str = ""
    branches: dict = dataclasses.field(default_factory=dict)
    implicit: bool = False  # the arguments of a command, written with it


@dataclasses.dataclass
class Command:
    name: str
    where: str
    area: str
    entry: dict
    arguments: Type  # or None

    def flag(self, key):
        return self.entry.get(key, False)

    @property
    def returns(self):
        return self.entry.get("returns")


@dataclasses.dataclass
class Event:
    name: str
    where: str
    area: str
    entry: dict
    members: list


@dataclasses.dataclass
class Schema:
    areas: list  # of (title, summary)
    types: dict
    commands: list  # sorted by name
    events: list  # sorted by name

    def type_names(self):
        """Names of the types, each after those that it contains.

        Lists may lead back to the type that they are in: C++ needs no more than a declaration for
        that.
        """
        order = []

        def visit(name, path):
            if name in BUILTINS or name in order:
                return
            path = path | {name}
            for inner in contained_types(self.types[name]):
                if not isinstance(inner, list):
                    visit(inner, path)
                elif not path & self.parts(inner[0]):
                    visit(inner[0], path)
            order.append(name)

        for made in self.types.values():
            self.check_parts(made)
        for name in self.types:
            visit(name, set())
        return order

    def parts(self, name, seen=frozenset()):
        """The types that a value of this one is made of, itself included, but for lists."""
        if name in BUILTINS or name in seen:
            return {name}
        return {name}.union(*(self.parts(inner, seen | {name})
                              for inner in contained_types(self.types[name])
                              if not isinstance(inner, list)))

    def check_parts(self, made):
        for inner in contained_types(made):
            if not isinstance(inner, list) and made.name in self.parts(inner):
                raise SchemaError(f"{made.where}: contains itself")


def element_type(reference):
    """The name in a type reference, which may be a list."""
    return reference[0] if isinstance(reference, list) else reference


def contained_types(kind):
    return [member.type for member in kind.members] + list(kind.branches.values())


class Loader:
    def __init__(self):
        self.areas = []
        self.types = {}
        self.commands = []
        self.events = []
        self.names = {}  # of commands and events, to where they are

    def load_file(self, path):
        document = read_json(path)
        self.require(document, path.name, {"area", "summary"}, FILE_KEYS)
        area = document["area"]
        self.areas.append((area, document["summary"]))
        for entry in document.get("types", []):
            self.add_type(entry, path.name)
        for entry in document.get("commands", []):
            self.add_command(entry, path.name, area)
        for entry in document.get("events", []):
            self.add_event(entry, path.name, area)

    def require(self, entry, where, mandatory, allowed):
        if not isinstance(entry, dict):
            raise SchemaError(f"{where}: not an object")
        for key in sorted(mandatory - entry.keys()):
            raise SchemaError(f"{where}: '{key}' is missing")
        for key in sorted(entry.keys() - allowed):
            raise SchemaError(f"{where}: '{key}' is unknown")
        for key in mandatory & {"summary", "since", "area", "when", "error"}:
            if not isinstance(entry[key], str) or not entry[key].strip():
                raise SchemaError(f"{where}: '{key}' is empty")

    def check_name(self, name, pattern, where):
        if not isinstance(name, str) or not pattern.fullmatch(name):
            raise SchemaError(f"{where}: '{name}' is not a valid name")

    def add_type(self, entry, file):
        kinds = [kind for kind in TYPE_KINDS if kind in entry]
        if len(kinds) != 1:
            raise SchemaError(f"{file}: a type needs exactly one of {', '.join(TYPE_KINDS)}")
        kind = kinds[0]
        name = entry[kind]
        where = f"{file}: {kind} '{name}'"
        self.check_name(name, TYPE_NAME, where)
        self.require(entry, where, TYPE_KEYS[kind] - {"base"}, TYPE_KEYS[kind])
        made = Type(kind, name, where, entry)
        if kind == "enum":
            for value, summary in entry["values"].items():
                self.check_name(value, VALUE_NAME, where)
                if not summary:
                    raise SchemaError(f"{where}: value '{value}' has no documentation")
            made.values = entry["values"]
        elif kind == "struct":
            made.members = self.members(entry["members"], where)
        elif kind == "union":
            made.members = self.members(entry.get("base", {}), where)
            made.discriminator = entry["discriminator"]
            made.branches = entry["branches"]
        else:
            made.branches = entry["branches"]
        self.register_type(made)

    def register_type(self, made):
        if made.name in self.types:
            raise SchemaError(f"{made.where}: already defined in {self.types[made.name].where}")
        self.types[made.name] = made

    def members(self, entries, where):
        result = []
        for name, entry in entries.items():
            inner = f"{where}, member '{name}'"
            self.check_name(name, MEMBER_NAME, inner)
            self.require(entry, inner, {"type", "summary"}, MEMBER_KEYS)
            result.append(Member(name, entry["type"], entry.get("optional", False),
                                 entry["summary"], entry.get("since", "")))
        return result

    def add_name(self, name, where):
        if name in self.names:
            raise SchemaError(f"{where}: already defined in {self.names[name]}")
        self.names[name] = where

    def add_command(self, entry, file, area):
        name = entry.get("name")
        where = f"{file}: command '{name}'"
        self.check_name(name, COMMAND_NAME, where)
        self.require(entry, where, {"name", "summary", "since", "example"}, COMMAND_KEYS)
        self.add_name(name, where)
        arguments = entry.get("arguments", {})
        made = None
        if isinstance(arguments, dict) and arguments:
            made = Type("struct", pascal(name) + "Arguments", where, {}, implicit=True,
                        members=self.members(arguments, where))
            self.register_type(made)
        elif isinstance(arguments, str):
            made = arguments  # looked up when every file is read
        self.commands.append(Command(name, where, area, entry, made))

    def add_event(self, entry, file, area):
        name = entry.get("name")
        where = f"{file}: event '{name}'"
        self.check_name(name, EVENT_NAME, where)
        self.require(entry, where, {"name", "summary", "since", "example"}, EVENT_KEYS)
        self.add_name(name, where)
        self.events.append(Event(name, where, area, entry,
                                 self.members(entry.get("data", {}), where)))

    def finish(self):
        self.resolve_bases()
        for made in self.types.values():
            self.check_type(made)
        for command in self.commands:
            self.check_command(command)
        for event in self.events:
            self.check_members(event.members, event.where)
            self.check_example(event.entry, event.where, ("<-",))
        schema = Schema(self.areas, self.types,
                        sorted(self.commands, key=lambda command: command.name),
                        sorted(self.events, key=lambda event: event.name))
        schema.type_names()  # finds types that contain themselves
        return schema

    def resolve_bases(self):
        def full_members(made, seen):
            base = made.entry.get("base")
            if made.kind != "struct" or base is None:
                return made.members
            parent = self.types.get(base)
            if parent is None or parent.kind != "struct" or base in seen:
                raise SchemaError(f"{made.where}: base '{base}' is not a struct")
            return full_members(parent, seen + [base]) + made.members

        resolved = {name: full_members(made, [name]) for name, made in self.types.items()}
        for name, members in resolved.items():
            self.types[name].members = members

    def check_reference(self, reference, where):
        if isinstance(reference, list) and len(reference) != 1:
            raise SchemaError(f"{where}: a list type names one type")
        name = element_type(reference)
        if not isinstance(name, str) or (name not in BUILTINS and name not in self.types):
            raise SchemaError(f"{where}: unknown type '{name}'")

    def check_members(self, members, where):
        seen = set()
        for member in members:
            if snake(member.name) in seen:
                raise SchemaError(f"{where}, member '{member.name}': defined twice")
            seen.add(snake(member.name))
            self.check_reference(member.type, f"{where}, member '{member.name}'")

    def check_type(self, made):
        self.check_members(made.members, made.where)
        for name, branch in made.branches.items():
            self.check_reference(branch, f"{made.where}, branch '{name}'")
        if made.kind == "union":
            self.check_union(made)
        elif made.kind == "alternate":
            self.check_alternate(made)

    def check_union(self, made):
        tags = [member for member in made.members if member.name == made.discriminator]
        tag_type = self.types.get(element_type(tags[0].type)) if tags else None
        if tag_type is None or tag_type.kind != "enum" or tags[0].optional:
            raise SchemaError(f"{made.where}: the discriminator is not a mandatory enum member")
        for value, branch in made.branches.items():
            inner = f"{made.where}, branch '{value}'"
            if value not in tag_type.values:
                raise SchemaError(f"{inner}: not a value of {tag_type.name}")
            struct = self.types.get(branch) if isinstance(branch, str) else None
            if struct is None or struct.kind != "struct":
                raise SchemaError(f"{inner}: '{branch}' is not a struct")
            self.check_members(made.members + struct.members, inner)

    def check_alternate(self, made):
        seen = {}
        for name, branch in made.branches.items():
            shape = self.json_shape(branch)
            if shape in seen or shape == "value":
                raise SchemaError(f"{made.where}, branch '{name}': not told apart by JSON type")
            seen[shape] = name

    def json_shape(self, reference):
        """Which JSON type a value of this type has; int and number are the same to a reader."""
        if isinstance(reference, list):
            return "array"
        if reference in BUILTINS:
            shape = JSON_TYPES[BUILTINS[reference][1]]
            return "number" if shape == "int" else shape
        return {"enum": "string"}.get(self.types[reference].kind, "object")

    def check_command(self, command):
        entry, where = command.entry, command.where
        if isinstance(command.arguments, str):
            made = self.types.get(command.arguments)
            if made is None or made.kind not in ("struct", "union"):
                raise SchemaError(f"{where}: arguments '{command.arguments}' is no struct or union")
            command.arguments = made
        if command.returns is not None:
            self.check_reference(command.returns, where)
        for error in entry.get("errors", []):
            self.require(error, f"{where}, errors", {"class", "when"}, {"class", "when"})
            if error["class"] not in ERROR_CLASSES:
                raise SchemaError(f"{where}: unknown error class '{error['class']}'")
        for event in entry.get("emits", []):
            if event not in self.names:
                raise SchemaError(f"{where}: unknown event '{event}'")
        if entry.get("constant", CONSTANTS[0]) not in CONSTANTS:
            raise SchemaError(f"{where}: 'constant' is not one of {', '.join(CONSTANTS)}")
        self.check_run_states(entry, where)
        self.check_example(entry, where, ("->", "<-"))
        request = entry["example"]["->"]
        key = "exec-oob" if command.flag("oob") and "exec-oob" in request else "execute"
        if request.get(key) != command.name:
            raise SchemaError(f"{where}: the example is of another command")

    def check_run_states(self, entry, where):
        if "run-states" not in entry:
            return
        keys = {"refused", "error"}
        self.require(entry["run-states"], f"{where}, run-states", keys, keys)
        states = self.types.get(RUN_STATE_TYPE)
        if states is None or len(states.values) > MAX_RUN_STATES:
            raise SchemaError(f"{where}: needs an enum {RUN_STATE_TYPE} of at most "
                              f"{MAX_RUN_STATES} values")
        for state in entry["run-states"]["refused"]:
            if state not in states.values:
                raise SchemaError(f"{where}: unknown run state '{state}'")

    def check_example(self, entry, where, keys):
        self.require(entry["example"], f"{where}, example", set(keys), set(keys))


def read_json(path):
    def refuse_duplicates(pairs):
        keys = [key for key, _ in pairs]
        for key in keys:
            if keys.count(key) > 1:
                raise SchemaError(f"{path.name}: '{key}' is there twice")
        return dict(pairs)

    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text, object_pairs_hook=refuse_duplicates)
    except (OSError, ValueError) as error:
        raise SchemaError(f"{path.name}: {error}") from error


def load(paths):
    """The schema in the files; raises SchemaError."""
    loader = Loader()
    for path in paths:
        loader.load_file(path)
    return loader.finish()


# Names in C++.

CPP_KEYWORDS = frozenset("""
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl concept
    const consteval constexpr constinit const_cast continue co_await co_return co_yield decltype
    default delete do double dynamic_cast else enum explicit export extern false float for friend
    goto if inline int long mutable namespace new noexcept not not_eq nullptr operator or or_eq
    private protected public register reinterpret_cast requires return short signed sizeof static
    static_assert static_cast struct switch template this thread_local throw true try typedef typeid
    typename union unsigned using virtual void volatile wchar_t while xor xor_eq""".split())


def words(name):
    return [word for word in re.split(r"[^A-Za-z0-9]+", name) if word]


def snake(name):
    """cpu-index -> cpu_index; a C++ keyword gets a trailing underscore."""
    result = "_".join(words(name)).lower()
    return result + "_" if result in CPP_KEYWORDS else result


def pascal(name):
    """guest-reset, GUEST_RESET -> GuestReset."""
    return "".join(word[0].upper() + (word[1:].lower() if word.isupper() else word[1:])
                   for word in words(name))


def constant(name):
    """guest-reset -> kGuestReset."""
    return "k" + pascal(name)


def cpp_type(reference):
    """The C++ type of a type reference."""
    if isinstance(reference, list):
        return f"std::vector<{cpp_type(reference[0])}>"
    return BUILTINS[reference][0] if reference in BUILTINS else reference


def cpp_string(text):
    """A C++ string literal."""
    return json.dumps(text)


def comment(text, indent=""):
    """`text` as documentation lines."""
    width = 100 - len(indent) - 4
    return "".join(f"{indent}/// {line}\n" for line in textwrap.wrap(text, width))
