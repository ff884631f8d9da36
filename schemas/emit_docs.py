"""qmp.md: the reference of every command, event and type, for people."""
import json

from model import element_type


def document(schema):
    parts = ["# QMP reference\n\n"
             "Generated from `schemas/*.json`. Every command, event and type that the daemon has; "
             "what is not here answers `CommandNotFound`.\n\n"
             "`since` is the QEMU release that had the entry first, or the Halcyon release of an "
             "entry of our own. What an entry's errors do not tell: any command answers "
             "GenericError to a request that is malformed, lacks an argument or has one that does "
             "not fit, or that comes when the command is not legal.\n"]
    for area, summary in schema.areas:
        parts.append(f"\n## {area}\n\n{summary}\n")
        parts += [command_text(command) for command in schema.commands if command.area == area]
        parts += [event_text(event) for event in schema.events if event.area == area]
    parts.append("\n## Types\n")
    parts += [type_text(schema.types[name]) for name in sorted(schema.types)
              if not schema.types[name].implicit]
    return "".join(parts)


def type_link(reference):
    name = element_type(reference)
    text = f"[{name}](#type-{name.lower()})" if name[0].isupper() else f"`{name}`"
    return f"list of {text}" if isinstance(reference, list) else text


def member_lines(members):
    lines = []
    for member in members:
        optional = ", optional" if member.optional else ""
        since = f" (since {member.since})" if member.since else ""
        lines.append(f"- `{member.name}` ({type_link(member.type)}{optional}): "
                     f"{member.summary}{since}\n")
    return "".join(lines)


def example_text(example):
    lines = "".join(f"{arrow} {json.dumps(message)}\n" for arrow, message in example.items())
    return f"\n```\n{lines}```\n"


def opening(entry, name):
    description = f"\n{entry['description']}\n" if "description" in entry else ""
    return f"\n### {name}\n\n{entry['summary']} (since {entry['since']})\n{description}"


def command_text(command):
    entry = command.entry
    parts = [opening(entry, command.name)]
    for name, summary in entry.get("features", {}).items():
        parts.append(f"\n**{name}**: {summary}\n")
    if command.arguments is not None:
        parts.append("\nArguments:\n\n")
        if command.arguments.implicit:
            parts.append(member_lines(command.arguments.members))
        else:
            parts.append(f"- the members of {type_link(command.arguments.name)}\n")
    if command.returns is not None:
        parts.append(f"\nReturns: {type_link(command.returns)}\n")
    if entry.get("errors"):
        parts.append("\nErrors:\n\n")
        parts += [f"- {error['class']}: {error['when']}\n" for error in entry["errors"]]
    else:
        parts.append("\nErrors: none of its own.\n")
    if "emits" in entry:
        events = ", ".join(f"`{event}`" for event in entry["emits"])
        parts.append(f"\nBefore the reply: {events}\n")
    parts.append(f"\nLegal: {legality(entry)}.\n")
    parts.append(example_text(entry["example"]))
    return "".join(parts)


def legality(entry):
    text = "in every run state"
    if "run-states" in entry:
        text += " but " + ", ".join(f"`{state}`" for state in entry["run-states"]["refused"])
    text += ", also" if entry.get("preconfig") else ", not"
    text += " before machine initialisation"
    return text + ("; may be sent out of band" if entry.get("oob") else "")


def event_text(event):
    parts = [opening(event.entry, event.name)]
    if event.members:
        parts.append("\nData:\n\n" + member_lines(event.members))
    parts.append(example_text(event.entry["example"]))
    return "".join(parts)


def type_text(made):
    parts = [f"\n### Type {made.name}\n\n{made.entry['summary']} (since {made.entry['since']})\n\n"]
    if made.kind == "enum":
        parts += [f"- `{value}`: {summary}\n" for value, summary in made.values.items()]
        return "".join(parts)
    parts.append(member_lines(made.members))
    for name, branch in made.branches.items():
        if made.kind == "union":
            parts.append(f"- if `{made.discriminator}` is `{name}`: the members of "
                         f"{type_link(branch)}\n")
        else:
            parts.append(f"- `{name}`: {type_link(branch)}\n")
    return "".join(parts)
