"""The answer to query-qmp-schema, in QEMU's format (qapi/introspect.json).

Names of types say nothing to a client and are numbers, but for the built-in ones. "0" is the object
without members. Only types that a command or an event reaches are listed.
"""
from model import BUILTINS, JSON_TYPES

EMPTY = "0"


class Introspection:
    def __init__(self, schema):
        self.schema = schema
        self.numbers = {}
        self.pending = []
        self.entries = []

    def build(self):
        for command in self.schema.commands:
            self.entries.append(self.command(command))
        for event in self.schema.events:
            argument = self.object_reference(event.name, event.members)
            self.entries.append({"name": event.name, "meta-type": "event", "arg-type": argument})
        self.entries.append({"name": EMPTY, "meta-type": "object", "members": []})
        while self.pending:
            self.entries.append(self.pending.pop(0)())
        return self.entries

    def command(self, command):
        entry = {"name": command.name, "meta-type": "command", "arg-type": EMPTY,
                 "ret-type": EMPTY}
        if command.arguments is not None:
            entry["arg-type"] = self.reference(command.arguments.name)
        if command.returns is not None:
            entry["ret-type"] = self.reference(command.returns)
        if command.flag("oob"):
            entry["allow-oob"] = True
        if "features" in command.entry:
            entry["features"] = list(command.entry["features"])
        return entry

    def number(self, key, describe):
        """The masked name of a type; the first time it is also queued to be described."""
        if key not in self.numbers:
            self.numbers[key] = str(len(self.numbers) + 1)
            self.pending.append(lambda: describe(self.numbers[key]))
        return self.numbers[key]

    def reference(self, reference):
        if isinstance(reference, list):
            element = self.reference(reference[0])
            return self.listed(f"[{element}]", lambda name: {
                "name": name, "meta-type": "array", "element-type": element})
        if reference in BUILTINS:
            name = BUILTINS[reference][1]
            return self.listed(name, lambda name: {
                "name": name, "meta-type": "builtin", "json-type": JSON_TYPES[name]})
        made = self.schema.types[reference]
        if made.kind == "struct":
            return self.object_reference(reference, made.members)
        describe = {"enum": self.enum, "union": self.union, "alternate": self.alternate}[made.kind]
        return self.number(reference, lambda name: describe(name, made))

    def listed(self, name, describe):
        """A type that is known by its own name."""
        if name not in self.numbers.values():
            self.numbers[name] = name
            self.pending.append(lambda: describe(name))
        return name

    def object_reference(self, key, members):
        if not members:
            return EMPTY
        return self.number(key, lambda name: {
            "name": name, "meta-type": "object", "members": self.members(members)})

    def members(self, members):
        result = []
        for member in members:
            entry = {"name": member.name, "type": self.reference(member.type)}
            if member.optional:
                entry["default"] = None
            result.append(entry)
        return result

    def enum(self, name, made):
        values = list(made.values)
        return {"name": name, "meta-type": "enum", "values": values,
                "members": [{"name": value} for value in values]}

    def union(self, name, made):
        tag = next(member for member in made.members if member.name == made.discriminator)
        variants = []
        for value in self.schema.types[tag.type].values:
            struct = made.branches.get(value)
            variants.append({"case": value,
                             "type": self.reference(struct) if struct else EMPTY})
        return {"name": name, "meta-type": "object", "members": self.members(made.members),
                "tag": made.discriminator, "variants": variants}

    def alternate(self, name, made):
        return {"name": name, "meta-type": "alternate",
                "members": [{"type": self.reference(branch)}
                            for branch in made.branches.values()]}


def build(schema):
    """The list of SchemaInfo objects."""
    return Introspection(schema).build()
