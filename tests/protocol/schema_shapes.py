"""Shapes: the answer to query-qmp-schema with the names of types resolved, as nested data.

A shape is one of
    "str", "int", ...                         a built-in type
    [shape]                                   an array
    {"enum": [value, ...]}
    {"alternate": [shape, ...]}
    {"object": {"name": shape, ...}, "tag": ..., "variants": {value: {"name": shape, ...}}}
In an object, a name that ends in "?" is optional. A type inside itself is "...".
"""


class Shapes:
    def __init__(self, entries):
        self.entries = {entry["name"]: entry for entry in entries}

    def of_kind(self, meta_type):
        """The names of all commands, or all events."""
        return sorted(name for name, entry in self.entries.items()
                      if entry["meta-type"] == meta_type)

    def command(self, name):
        entry = self.entries[name]
        return {"arguments": self.shape(entry["arg-type"]), "returns": self.shape(entry["ret-type"])}

    def event(self, name):
        return {"data": self.shape(self.entries[name]["arg-type"])}

    def shape(self, name, inside=()):
        entry = self.entries[name]
        kind = entry["meta-type"]
        if kind == "builtin":
            return name
        if kind == "enum":
            return {"enum": sorted(entry["values"])}
        if name in inside:
            return "..."
        inside = (*inside, name)
        if kind == "array":
            return [self.shape(entry["element-type"], inside)]
        if kind == "alternate":
            return {"alternate": [self.shape(member["type"], inside)
                                  for member in entry["members"]]}
        result = {"object": self.members(entry, inside)}
        if "tag" in entry:
            result["tag"] = entry["tag"]
            result["variants"] = {
                variant["case"]: self.members(self.entries[variant["type"]], inside)
                for variant in entry["variants"]}
        return result

    def members(self, entry, inside):
        return {member["name"] + ("?" if "default" in member else ""):
                self.shape(member["type"], inside) for member in entry["members"]}


def without_optional(theirs, ours):
    """`theirs` without the optional members that `ours` does not have, at any depth."""
    if isinstance(theirs, list):
        return [without_optional(theirs[0], ours[0] if isinstance(ours, list) else None)]
    if not isinstance(theirs, dict):
        return theirs
    if "object" not in theirs:
        return theirs
    ours = ours if isinstance(ours, dict) else {}
    result = dict(theirs, object=kept_members(theirs["object"], ours.get("object", {})))
    if "variants" in theirs:
        our_variants = ours.get("variants", {})
        result["variants"] = {
            value: kept_members(members, our_variants[value])
            for value, members in theirs["variants"].items() if value in our_variants}
    return result


def kept_members(theirs, ours):
    found = {name.rstrip("?"): shape for name, shape in ours.items()}
    return {name: without_optional(shape, found.get(name.rstrip("?")))
            for name, shape in theirs.items()
            if not name.endswith("?") or name.rstrip("?") in found}
