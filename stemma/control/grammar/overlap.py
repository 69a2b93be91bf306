"""Whether two schemas can allow the same value: a proof that they cannot, or no answer.

Bounds take no part: what they exclude has a negation, which whoever asks can take away.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from stemma.control.grammar.parts import TYPES, Schema, kind_of

Target: TypeAlias = Callable[[str], Schema]  # what a `$ref` leads to

DEEPEST = 8  # schemas in schemas that a proof looks into


@dataclass(slots=True)
class Facts:
    """What surely holds for every value of a schema. What is not understood is left out, which is safe."""

    target: Target
    depth: int
    types: frozenset[str] = frozenset(TYPES)
    values: list[object] | None = None  # the only ones
    patterns: list[str] = field(default_factory=list)
    required: list[str] = field(default_factory=list)
    properties: dict[str, list[Schema]] = field(default_factory=dict)
    closed: list[frozenset[str]] = field(default_factory=list)  # no property outside of each of these

    def excludes(self, other: "Facts") -> bool:
        """True: proved that no value satisfies both."""
        return all(self._differs(kind, other) for kind in self.types & other.types)

    def _differs(self, kind: str, other: "Facts") -> bool:
        for one, two in ((self, other), (other, self)):
            if one.values is not None and not any(two.may_be(value) for value in one.values if kind_of(value) == kind):
                return True
            if kind == "object" and any(two._forbids(name) for name in one.required):
                return True
        if kind == "object":
            there = {*self.required, *other.required}
            both = [name for name in self.properties if name in other.properties and name in there]
            return any(self._clash(self.properties[name], other.properties[name]) for name in both)
        return False

    def _clash(self, ours: Sequence[Schema], theirs: Sequence[Schema]) -> bool:
        if self.depth >= DEEPEST or not ours or not theirs:
            return False
        one, two = (facts_of({"allOf": list(all_)}, self.target, self.depth + 1) for all_ in (ours, theirs))
        return one.excludes(two)

    def _forbids(self, name: str) -> bool:
        return False in self.properties.get(name, []) or any(name not in names for names in self.closed)

    def may_be(self, value: object) -> bool:
        """False: the value is surely none of the schema's."""
        kind = kind_of(value)
        if kind not in self.types or (self.values is not None and not any(same(value, each) for each in self.values)):
            return False
        if isinstance(value, str):
            return all(_may_match(pattern, value) for pattern in self.patterns)
        return not (isinstance(value, dict) and any(name not in value for name in self.required))

    def take(self, schema: Mapping[str, object]) -> None:
        """Add what one schema says by its own keywords."""
        kinds = schema.get("type")
        if kinds is not None:
            named = [kinds] if isinstance(kinds, str) else kinds if isinstance(kinds, list) else list(TYPES)
            self.types &= {"number" if name == "integer" else name for name in named}
        values = [schema["const"]] if "const" in schema else schema.get("enum")
        if isinstance(values, list):
            known = values if self.values is None else self.values
            self.values = [value for value in known if any(same(value, each) for each in values)]
            self.types &= {kind_of(value) for value in self.values}
        self.patterns += [pattern] if isinstance(pattern := schema.get("pattern"), str) else []
        required, properties = schema.get("required"), schema.get("properties", {})
        self.required += required if isinstance(required, list) else []
        if isinstance(properties, dict):
            for name, each in properties.items():
                self.properties.setdefault(name, []).append(each)
            if schema.get("additionalProperties") is False and not schema.get("patternProperties"):
                self.closed.append(frozenset(properties))


def facts_of(schema: Schema, target: Target, depth: int = 0) -> Facts:
    facts = Facts(target, depth)
    line: list[Schema] = [schema]
    for _ in range(50):  # a chain of references may lead to itself
        if not line:
            break
        each = line.pop()
        if each is False:
            facts.types = frozenset()
        if not isinstance(each, Mapping):
            continue
        facts.take(each)
        if "$ref" in each:
            line.append(target(str(each["$ref"])))
        parts = each.get("allOf")
        line += parts if isinstance(parts, list) else []
    return facts


def same(one: object, two: object) -> bool:
    """As JSON has it: 1 is 1.0, and no truth is a number."""
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(same, one, two))
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(same(one[name], two[name]) for name in one)
    return kind_of(one) == kind_of(two) and one == two


def _may_match(pattern: str, text: str) -> bool:
    """Only short patterns of plain signs are tried: others may mean, or cost, something else here."""
    if len(pattern) > 200 or re.search(r"[*+}].*[*+{].*\)[*+{]", pattern) or len(text) > 200:
        return True
    try:
        return re.search(pattern, text) is not None
    except re.error:
        return True
