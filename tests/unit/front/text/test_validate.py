"""The second reader of answers, beside jsonschema alone on every test of a specification's kind."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stemma.front.text.opinion import Question
from stemma.front.text.validate import opinion_of


def verdict(source: str, text: str | None, kind: str = "json_schema") -> tuple[str, str]:
    opinion = opinion_of(Question(kind=kind, source=source, text=text))  # type: ignore[arg-type]  # the tests name known kinds
    return opinion.verdict, opinion.detail


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ('{"type": "strin"}', "$.type"),
        ('{"properties": {"a": {"minimum": "3"}}}', "$.properties.a.minimum"),
        ('{"required": "a"}', "$.required"),
        ('{"$schema": "http://json-schema.org/draft-04/schema#", "exclusiveMinimum": 3}', "exclusiveMinimum"),
        ("[]", "$"),
    ],
)
def test_a_schema_that_is_none_is_told_with_its_place(schema: str, place: str) -> None:
    said, detail = verdict(schema, None)
    assert said == "invalid"
    assert place in detail


@pytest.mark.parametrize(
    "schema",
    [
        "true",
        "{}",
        '{"type": ["string", "null"]}',
        '{"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 3, "exclusiveMinimum": true}',
    ],
)
def test_a_schema(schema: str) -> None:
    assert verdict(schema, None) == ("valid", "")


@pytest.mark.parametrize(
    ("schema", "text", "said", "place"),
    [
        ('{"type": "integer"}', "3", "valid", ""),
        ('{"type": "integer"}', "3 4", "invalid", "no JSON"),
        ("{}", "NaN", "invalid", "NaN"),
        ("{}", '{"a": 1', "invalid", "no JSON"),
        ('{"properties": {"a": {"type": "null"}}}', '{"a": 1}', "invalid", "$.a"),
        ('{"pattern": "^a+$"}', '"aa"', "valid", ""),
        ('{"pattern": "^a+$"}', '"aa\\n"', "invalid", "does not match"),  # where Python's own `re` would say yes
        ('{"pattern": "(?=a)"}', '"a"', "unchecked", "(?=a)"),
        ('{"$ref": "http://127.0.0.1:9/x"}', "3", "unchecked", "http://127.0.0.1:9/x"),
        ('{"$ref": "#/$defs/x"}', "3", "unchecked", "$defs/x"),
        ('{"$defs": {"x": {"$ref": "#/$defs/x"}}, "$ref": "#/$defs/x"}', "3", "unchecked", "RecursionError"),
        ("{}", "[" * 100_000, "unchecked", "RecursionError"),
        ("{}", "1" * 5000, "unchecked", "digits"),
    ],
)
def test_json(schema: str, text: str, said: str, place: str) -> None:
    found, detail = verdict(schema, text)
    assert found == said
    assert place in detail
    assert len(detail) < 400


@given(st.sampled_from(["a+b?", "(a|bc)*", "[a-c]{2,3}", "a\\.b"]), st.text("abc.", max_size=4))
@settings(deadline=None)
def test_regex(pattern: str, text: str) -> None:
    expected = "valid" if re.fullmatch(pattern, text) else "invalid"
    assert verdict(pattern, text, "regex")[0] == expected


def test_what_has_no_second_reader_is_not_called_valid() -> None:
    assert verdict('root ::= "a"', "a", "ebnf")[0] == "unchecked"
    assert verdict("(?=a)a", "a", "regex")[0] == "unchecked"
