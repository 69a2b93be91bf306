"""JSON schemas, rewritten into the keywords that a grammar can serve, with the same meaning.

Negation is pushed inwards until it is gone, conditions and dependencies become alternatives, and alternatives of
which exactly one may hold become alternatives that exclude each other. What has no such form is refused by name.
https://json-schema.org/draft/2020-12/json-schema-validation
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, permutations
from urllib.parse import unquote

from stemma.control.grammar.negate import breaches
from stemma.control.grammar.outline import outline
from stemma.control.grammar.parts import (
    FORMATS,
    STANDARD,
    Schema,
    Unserved,
    both,
    checked,
    named,
    parts_of,
    schemas,
    strings,
    union,
    values_of,
)
from stemma.core.base.errors import GrammarError

PLAIN = frozenset(
    "type enum const minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minLength maxLength pattern format "
    "prefixItems items minItems maxItems properties patternProperties additionalProperties required minProperties "
    "maxProperties".split()
)
MOST_NODES = 20_000
MOST_SUBSETS = 64
DEPTHS = (3, 9)  # of proofs that alternatives exclude each other: most need little, which is fast


class Rewriter:
    """Rewrites one document. What a `$ref` leads to becomes a definition, plain or negated: recursion stays finite.

    `is_empty` says True of a schema if it is proved to allow nothing.
    """

    def __init__(self, root: Schema, is_empty: Callable[[Schema], bool]):
        self._root = root
        self._is_empty = is_empty
        self._definitions: dict[str, Schema] = {}
        self._names: dict[tuple[str, bool], str] = {}
        self._nodes = 0
        old = isinstance(root, Mapping) and re.search(r"draft-0[3467]", str(root.get("$schema", "")))
        self._siblings_count = not old  # of a `$ref`

    def document(self) -> Schema:
        found = self._served(self._root)
        return found if isinstance(found, bool) else {**found, "$defs": self._definitions}

    def _served(self, schema: Schema, negated: bool = False) -> Schema:
        """The schema, or everything else, in served keywords."""
        self._nodes += 1
        if self._nodes > MOST_NODES:
            raise GrammarError(f"json_schema: it grows beyond {MOST_NODES} parts when written out; make it simpler")
        if isinstance(schema, bool):
            return schema != negated
        plain, rest = self._conjuncts(schema)
        if negated:
            return self._opposite(plain, rest)
        return both([self._plain(plain), *(self._logic(each, plain, negated) for each in rest)])

    def _opposite(self, plain: Mapping[str, object], rest: Sequence[Mapping[str, object]]) -> Schema:
        """What breaks one of them. Ways without a form are left out where another has one, so that too little may be
        allowed, never too much. The other types alone are no way: where they are excluded, nothing would be left."""
        options: list[Schema] = []
        unserved: Unserved | None = None
        may_narrow = False
        for name, way in (*breaches(plain), *((None, each) for each in rest)):
            try:
                if isinstance(way, Unserved):
                    raise way
                options.append(self._served(way) if name else self._logic(parts_of(way), plain, negated=True))
                may_narrow = may_narrow or name != "type"
            except Unserved as error:
                unserved = error
        if unserved is not None and not may_narrow:
            raise unserved
        return union(options)

    def _logic(self, schema: Mapping[str, object], plain: Mapping[str, object], negated: bool) -> Schema:
        ((name, value),) = schema.items()
        join = both if (name == "allOf") != negated else union
        match name:
            case "$ref":
                return self._definition(str(value), negated)
            case "not":
                return self._served(checked(value), not negated)
            case "oneOf" if negated:
                several = [{"allOf": list(pair)} for pair in combinations(schemas(value), 2)]
                return self._served({"anyOf": [{"not": {"anyOf": value}}, *several]})
            case "oneOf":
                return union([self._served(each) for each in self._exclusive(schemas(value), plain)])
        return join([self._served(each, negated) for each in schemas(value)])

    def _definition(self, pointer: str, negated: bool) -> Schema:
        key = (pointer, negated)
        if key not in self._names:
            known = self._names.copy(), self._definitions.copy()
            self._names[key] = name = f"d{len(self._names)}"
            try:
                self._definitions[name] = self._served(self.target(pointer), negated)
            except Unserved:  # some of those that were made on the way may lead to it
                self._names, self._definitions = known
                raise
        found = self._definitions.get(self._names[key])
        return found if isinstance(found, bool) else {"$ref": f"#/$defs/{self._names[key]}"}

    def target(self, pointer: str) -> Schema:
        if pointer != "#" and not pointer.startswith("#/"):
            raise Unserved(f"$ref to {pointer!r}, which is not in this document by its path,")
        place: object = self._root
        for quoted in pointer.split("/")[1:]:
            step = unquote(quoted).replace("~1", "/").replace("~0", "~")
            if isinstance(place, Mapping) and step in place:
                place = place[step]
            elif isinstance(place, list) and step.isdigit() and int(step) < len(place):
                place = place[int(step)]
            else:
                raise GrammarError(f"json_schema: $ref to {pointer!r} leads nowhere")
        return checked(place)

    # -- one schema as a conjunction: plain keywords together, every logical one alone

    def _conjuncts(self, schema: Mapping[str, object]) -> tuple[dict[str, object], list[Mapping[str, object]]]:
        self._check(schema)
        if "$ref" in schema and not self._siblings_count:
            return {}, [{"$ref": schema["$ref"]}]
        plain = {name: value for name, value in schema.items() if name in PLAIN}
        _modernise(schema, plain)
        rest: list[Mapping[str, object]] = [
            {name: schema[name]} for name in ("$ref", "allOf", "anyOf", "oneOf", "not") if name in schema
        ]
        rest += [{"anyOf": options} for options in _conditions(schema)]
        rest += [{"allOf": [each]} for each in _names_of_properties(schema)]
        _unevaluated(schema, plain)
        if schema.get("minContains", 1) == 1 and "contains" in schema:
            rest.append({"not": {"type": "array", "items": {"not": schema["contains"]}}})
        if schema.get("uniqueItems"):
            rest += _lists_without_repeats(plain)
        return plain, rest

    def _check(self, schema: Mapping[str, object]) -> None:
        """Raises Unserved for what has no form at all."""
        for name in ("$dynamicRef", "$recursiveRef", "maxContains"):
            if name in schema:
                raise Unserved(name)
        if schema.get("minContains", 1) not in (0, 1):
            raise Unserved("minContains above 1")
        # A schema with a name of its own is a document of its own, in which `#` means itself.
        is_document = schema is not self._root and not str(schema.get("$id", "#")).startswith("#")
        if is_document and '"$ref"' in json.dumps(schema):
            raise Unserved("$ref inside of a schema that has an $id")

    def _plain(self, plain: Mapping[str, object]) -> Schema:
        found: dict[str, object] = dict(plain)
        for name in ("items", "additionalProperties"):
            if name in plain:
                found[name] = self._served(checked(plain[name]))
        for name in ("properties", "patternProperties"):
            if name in plain:
                found[name] = {key: self._served(each) for key, each in named(plain[name]).items()}
        if "prefixItems" in plain:
            found["prefixItems"] = [self._served(each) for each in schemas(plain["prefixItems"])]
        absent = [name for name, each in named(found.get("properties", {})).items() if each is False]
        if plain.get("type") == "object" and any(name in absent for name in strings(plain.get("required", []))):
            return False
        format = plain.get("format")
        if format in STANDARD:
            raise Unserved(f"format {format!r}")
        if format not in FORMATS:
            found.pop("format", None)
        return self._counted(found) if found else True

    def _counted(self, plain: Mapping[str, object]) -> Schema:
        """Without a count of properties where some of the listed may be absent: which are there is an alternative."""
        properties, required = named(plain.get("properties", {})), strings(plain.get("required", []))
        optional = [name for name in properties if name not in required and properties[name] is not False]
        least = plain.get("minProperties", 0) if "maxProperties" not in plain else None
        if not optional or not ({"minProperties", "maxProperties"} & plain.keys()):
            return plain
        if isinstance(least, int) and least <= len(required):
            return {name: value for name, value in plain.items() if name != "minProperties"}
        if least == 1:  # one of them is the first, or none is there
            there = [optional[at : at + 1] for at in range(len(optional) + 1)]
            absent = [optional[:at] for at in range(len(optional) + 1)]
        elif 2 ** len(optional) <= MOST_SUBSETS:
            there = [list(names) for size in range(len(optional) + 1) for names in combinations(optional, size)]
            absent = [[name for name in optional if name not in names] for names in there]
        else:
            raise Unserved(f"minProperties or maxProperties beside {len(optional)} optional properties")
        options: list[Schema] = []
        for given, left in zip(there, absent, strict=True):
            listed = {**properties, **dict.fromkeys(left, False)}
            options.append(self._counted({**plain, "properties": listed, "required": [*required, *given]}))
        return union(options)

    # -- exactly one

    def _exclusive(self, options: Sequence[Schema], plain: Mapping[str, object]) -> list[Schema]:
        """The same alternatives, each without what another one allows too."""
        found: list[list[Schema]] = [[option] for option in options]
        for one, two in combinations(range(len(options)), 2):
            both_of_them = {"allOf": [plain, options[one], options[two]]}
            if not any(self._is_empty(outline(both_of_them, self.target, depth)) for depth in DEPTHS):
                found[one].append({"not": options[two]})
                found[two].append({"not": options[one]})
        return [{"allOf": each} for each in found]


def _modernise(schema: Mapping[str, object], plain: dict[str, object]) -> None:
    """Keywords of older drafts, in those of the newest."""
    if isinstance(schema.get("items"), list):
        plain["prefixItems"] = plain.pop("items")
        if "additionalItems" in schema:
            plain["items"] = schema["additionalItems"]
    for name, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(plain.get(name), bool) and plain.pop(name) and bound in plain:
            plain[name] = plain.pop(bound)
    if not isinstance(plain.get("required", []), list):
        plain.pop("required")


def _conditions(schema: Mapping[str, object]) -> Iterator[list[Schema]]:
    """What holds only if something else does, as alternatives."""
    if "if" in schema:
        condition = checked(schema["if"])
        yield [
            {"allOf": [condition, schema.get("then", True)]},
            {"allOf": [{"not": condition}, schema.get("else", True)]},
        ]
    for keyword in ("dependencies", "dependentRequired", "dependentSchemas"):
        for name, then in parts_of(schema.get(keyword, {})).items():
            needs = {"required": then} if isinstance(then, list) else then
            yield [{"properties": {name: False}}, {"allOf": [{"required": [name]}, needs]}]


def _names_of_properties(schema: Mapping[str, object]) -> Iterator[Schema]:
    rule = schema.get("propertyNames", True)
    if rule is False:
        yield {"maxProperties": 0}
    elif isinstance(rule, Mapping):
        words = {name: value for name, value in rule.items() if name in PLAIN and value != "string"}
        if words.keys() == {"pattern"}:
            yield {"patternProperties": {str(words["pattern"]): True}, "additionalProperties": False}
        elif words.keys() == {"enum"}:
            names = [name for name in values_of(words["enum"]) if isinstance(name, str)]
            yield {"properties": dict.fromkeys(names, True), "additionalProperties": False}
        elif words.keys() and words.keys() <= {"minLength", "maxLength"}:
            count = f"{{{words.get('minLength', 0)},{words.get('maxLength', '')}}}"
            yield {"patternProperties": {f"^(.|\\n){count}$": True}, "additionalProperties": False}
        elif words or any(name in rule for name in ("$ref", "allOf", "anyOf", "oneOf", "not", "if")):
            raise Unserved("propertyNames")


def _lists_without_repeats(plain: dict[str, object]) -> list[Mapping[str, object]]:
    kinds, most = plain.get("type", "array"), plain.get("maxItems")
    if "array" not in (kinds if isinstance(kinds, list) else [kinds]) or (isinstance(most, int) and most <= 1):
        return []
    items = plain.pop("items", True)
    values = items.get("enum") if isinstance(items, Mapping) else None
    if not isinstance(values, list) or len(values) > 4 or "prefixItems" in plain:
        raise Unserved("uniqueItems")
    lists = [list(each) for size in range(len(values) + 1) for each in permutations(values, size)]
    return [{"anyOf": [{"not": {"type": "array"}}, *({"const": each} for each in lists)]}]


def _unevaluated(schema: Mapping[str, object], plain: dict[str, object]) -> None:
    for name, usual in (("unevaluatedProperties", "additionalProperties"), ("unevaluatedItems", "items")):
        if schema.get(name, True) is not True and usual not in plain:
            if any(other in schema for other in ("$ref", "allOf", "anyOf", "oneOf", "if", "dependentSchemas")):
                raise Unserved(name)
            plain[usual] = schema[name]
