"""What is rewritten means the same; `jsonschema` is the judge of both."""

import json
from random import Random

import pytest
from jsonschema import Draft202012Validator

from stemma.control.grammar.llguidance import is_empty
from stemma.control.grammar.outline import outline
from stemma.control.grammar.parts import Schema, checked
from stemma.control.grammar.schema import Rewriter
from stemma.core.base.errors import GrammarError
from tests.unit.control.grammar.random_schemas import schema, value

LOGIC = {"not", "oneOf", "if", "then", "else", "dependentRequired", "dependencies", "propertyNames", "uniqueItems"}


def keywords(schema: object) -> set[str]:
    if isinstance(schema, list):
        return {word for each in schema for word in keywords(each)}
    if not isinstance(schema, dict):
        return set()
    return {*schema, *(word for name, each in schema.items() if name != "properties" for word in keywords(each))}


def test_random_schemas_keep_their_meaning() -> None:
    """What is allowed was allowed. What was allowed is, but where a breach had no form."""
    draw, served, allowed, lost = Random(7), 0, 0, 0
    for _ in range(3000):
        source = checked(schema(draw))
        try:
            found = rewritten(source)
        except GrammarError:
            continue
        served += 1
        assert not LOGIC & keywords(found)
        before, after = Draft202012Validator(source), Draft202012Validator(found)
        for instance in [value(draw) for _ in range(25)]:
            allowed += before.is_valid(instance)
            lost += before.is_valid(instance) and not after.is_valid(instance)
            assert before.is_valid(instance) or not after.is_valid(instance), json.dumps([source, found, instance])
    assert served > 2000 and 100 * lost < allowed, [served, allowed, lost]


def test_what_is_proved_disjoint_is() -> None:
    draw, proofs = Random(8), 0
    for _ in range(4000):
        both = {"allOf": [schema(draw, 2), schema(draw, 2)]}
        if is_empty(outline(both, no_target, 9)):
            proofs += 1
            judge = Draft202012Validator(both)
            assert not any(judge.is_valid(value(draw)) for _ in range(30)), json.dumps(both)
    assert proofs > 200


def no_target(pointer: str) -> Schema:
    raise AssertionError(pointer)


def rewritten(source: Schema) -> Schema:
    return Rewriter(source, is_empty).document()


RECURSIVE = {
    "$ref": "#/definitions/list",
    "definitions": {
        "list": {"type": "array", "items": {"oneOf": [{"$ref": "#/definitions/list"}, {"type": "integer"}]}},
    },
}


NEGATED = {"not": {"$ref": "#/$defs/a"}, "$defs": {"a": {"not": {"$ref": "#/$defs/b"}}, "b": {"type": "null"}}}


@pytest.mark.parametrize(
    ("source", "right", "wrong"),
    [
        (RECURSIVE, [[], [1, [2, []]]], [["x"], [[None]]]),
        (
            {"not": {"$ref": "#/$defs/a"}, "$defs": {"a": {"not": {"$ref": "#/$defs/b"}}, "b": {"type": "null"}}},
            [None],
            [1],
        ),
        ({"items": [{"type": "null"}], "additionalItems": False, "type": "array"}, [[None], []], [[1], [None, None]]),
        ({"minimum": 3, "exclusiveMinimum": True, "type": "integer"}, [4], [3]),
        ({"type": "string", "not": {"enum": ["logs", "log"]}}, ["", "lo", "logsx", "x"], ["logs", "log"]),
        ({"type": "string", "format": "text"}, ["x"], [1]),
        ({"not": {"type": "integer"}}, ["x", None], [1, 1.0, -7]),
        ({"not": {"required": ["a"], "additionalProperties": False}}, [{"b": 1}, {}], [{"a": 1}, 1]),
        ({"contains": {"type": "null"}}, [[None], [1, 2, None], 1], [[], [1], [1, 2]]),
        ({"contains": {"type": "null"}, "minContains": 0}, [[], [1]], []),
        ({"not": {"contains": {"type": "null"}}}, [[], [1]], [[1, 2, 3, None], 1]),
        (
            {"not": {"properties": {"a": {"pattern": "b"}, "b": {"type": "null"}}}},
            [{"a": "b", "b": 1}],
            [{"a": "b"}, {"a": "b", "b": None}],
        ),
        ({"type": "array", "items": {"enum": ["a", "b"]}, "uniqueItems": True}, [["a", "b"], ["b"], []], [["a", "a"]]),
        ({"dependencies": {"a": ["b"], "c": {"minProperties": 3}}}, [{"b": 1}, {"a": 1, "b": 1}], [{"a": 1}, {"c": 1}]),
    ],
)
def test_keywords_of_every_draft(source: dict[str, object], right: list[object], wrong: list[object]) -> None:
    judge = Draft202012Validator(rewritten(source))
    assert all(judge.is_valid(instance) for instance in right)
    assert not any(judge.is_valid(instance) for instance in wrong)


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ({"contains": {"type": "null"}, "minContains": 2}, "minContains"),
        ({"contains": True, "minContains": 0, "maxContains": 1}, "maxContains"),
        ({"$dynamicRef": "#a"}, "dynamicRef"),
        ({"items": {"$id": "x.json", "items": {"$ref": "#"}}}, "an \\$id"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"not": {"pattern": "a"}}, "not of pattern"),
        ({"not": {"pattern": "a", "type": "string"}}, "not of pattern"),
        ({"format": "regex"}, "format 'regex'"),
        ({"$ref": "https://example.org/schema"}, "example.org"),
        ({"$ref": "#/$defs/none"}, "leads nowhere"),
        ({"anyOf": 3}, "list of schemas"),
    ],
)
def test_what_has_no_form_is_named(source: dict[str, object], named: str) -> None:
    with pytest.raises(GrammarError, match=named):
        rewritten(source)
