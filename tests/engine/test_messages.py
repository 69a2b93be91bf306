"""Front and engine mean the same by a structural tag: a matcher takes every message that the front reads as meant."""

import json
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stemma.control.grammar.backend import BACKENDS
from stemma.control.grammar.matcher import USUAL, Backend, Compiled, Vocabulary
from stemma.core.config.embedded import embedded_model_path
from stemma.core.types.grammar import Grammar
from stemma.front.text.tags import Thoughts, message_grammar
from stemma.front.text.tokenizer import Tokenizer
from tests.unit.front.text.test_tags import ANSWER, QWEN3, Sampler, calls_of, format_of

CONTENT = Grammar("json_schema", json.dumps({"enum": [json.loads(ANSWER)]}))
FREE = [None, Thoughts(QWEN3, False), Thoughts(QWEN3, True)]
TOKENIZER = Tokenizer.from_folder(str(embedded_model_path()))
END = TOKENIZER.eos_id or 0


@cache
def backend() -> Backend:
    return BACKENDS["llguidance"](Vocabulary.from_folder(embedded_model_path(), TOKENIZER.vocab_size, [END]), USUAL)


@cache
def compiled(grammar: Grammar) -> Compiled:
    return backend().compile(grammar) or backend().load(grammar, backend().prepare(grammar))


def takes(grammar: Grammar | None, text: str) -> bool:
    assert grammar is not None
    matcher = compiled(grammar).matcher()
    tokens = TOKENIZER.encode(text, add_special_tokens=False)
    return all(matcher.accept(token) for token in tokens) and matcher.is_complete


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_every_message_of_a_tag_is_taken(data: st.DataObject) -> None:
    calls = data.draw(st.sampled_from([None, calls_of(True, True), calls_of(True, False), calls_of(False, True)]))
    content = CONTENT if calls is None else data.draw(st.sampled_from([None] if calls.must else [None, CONTENT]))
    thoughts = data.draw(st.sampled_from(FREE[1:] if calls is None else FREE))
    grammar = message_grammar(content, calls, thoughts)
    assert takes(grammar, Sampler(data.draw).text(format_of(grammar)))


CALL = '<tool_call>\n{"name": "f", "arguments": %s}\n</tool_call>'


@pytest.mark.parametrize(
    ("content", "must", "many", "text"),
    [
        (None, True, True, "hello"),
        (None, True, True, ""),
        (None, True, True, CALL % "{}" + "and more"),
        (None, True, True, CALL % '{"z": 1}'),
        (None, True, False, CALL % "{}" + "\n" + CALL % "{}"),
        (None, False, True, CALL % '{"z": 1}'),
        (None, False, True, "so <tool_call> it"),
        (None, False, False, CALL % "{}" + "and more"),
        (CONTENT, False, True, "hello"),
        (CONTENT, False, True, ANSWER + CALL % "{}"),
    ],
)
def test_no_other_is(content: Grammar | None, must: bool, many: bool, text: str) -> None:
    assert not takes(message_grammar(content, calls_of(must, many), None), text)


def test_no_call_begins_in_a_thought() -> None:
    grammar = message_grammar(None, calls_of(True, True), Thoughts(QWEN3, True))
    assert takes(grammar, "so</think>\n\n" + CALL % "{}")
    assert not takes(grammar, "so " + CALL % "{}" + "</think>\n\n" + CALL % "{}")
