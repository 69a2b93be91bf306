"""The outline of a schema: what allows at least as much, in keywords that every library reads.

Where the outlines of two schemas have no value in common, the schemas have none. What is not understood, lies deep or
may mean more than it says is left out: bounds have a negation, which whoever asks can take away.
"""

from collections.abc import Callable, Mapping

from stemma.control.grammar.parts import Schema


def outline(schema: object, target: Callable[[str], Schema], depth: int) -> Schema:
    """So many schemas within each other deep. `target` is what a `$ref` leads to."""
    if not isinstance(schema, Mapping) or not depth:
        return schema is not False

    def inner(part: object) -> Schema:
        return outline(part, target, depth - 1)

    found = {name: schema[name] for name in ("type", "enum", "const", "pattern", "required") if name in schema}
    if not isinstance(found.get("required", []), list):
        del found["required"]  # an older draft says it of a property
    properties, parts = schema.get("properties"), schema.get("allOf")
    if isinstance(properties, Mapping):
        found["properties"] = {name: inner(each) for name, each in properties.items()}
        if schema.get("additionalProperties") is False and not schema.get("patternProperties"):
            found["additionalProperties"] = False
    holds: list[Schema] = [found, *map(inner, parts if isinstance(parts, list) else [])]
    if "$ref" in schema:
        holds.append(inner(target(str(schema["$ref"]))))
    for name in ("anyOf", "oneOf"):
        if isinstance(options := schema.get(name), list):
            holds.append({"anyOf": [*map(inner, options)]})
    return {"allOf": holds}
