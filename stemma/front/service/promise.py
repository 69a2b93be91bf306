"""What an answer was promised to match, and the certificate that tells whether it did."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct

from stemma.core.base.errors import BadRequest
from stemma.core.types.grammar import Grammar
from stemma.core.types.output import Finish, Usage
from stemma.front.service.judge import Judge
from stemma.front.text.opinion import Opinion, Question

Verdict = Literal["valid", "invalid", "cut off", "unchecked"]


class Wanted(Struct, frozen=True):
    """A grammar, and the field of the body that asked for it."""

    grammar: Grammar
    field: str


class Promise(Struct, frozen=True, kw_only=True):
    """What an answer is held to, and what this makes of the parts of its message: content, or calls, or either."""

    grammar: Grammar  # of the whole answer
    content: Wanted | None = None
    calls: Mapping[str, Wanted] = {}  # JSON schema of each function's arguments
    must_call: bool = False

    async def check(self, judge: Judge) -> None:
        """Raises BadRequest for a schema that is none, by its metaschema."""
        for wanted in (*([self.content] if self.content else []), *self.calls.values()):
            if wanted.grammar.kind != "json_schema":
                continue
            opinion = await judge.ask(Question(kind="json_schema", source=wanted.grammar.source))
            if opinion.verdict != "valid":
                raise BadRequest(f"{wanted.field}: no JSON schema that can be used: {opinion.detail}", wanted.field)


class Message(Struct, frozen=True):
    """What an answer says, thoughts aside."""

    content: str
    calls: Sequence[tuple[str, str]] = ()  # name and arguments


class Certificate(Struct, kw_only=True):
    """Whether an answer is what it was to be, and how it came about."""

    sha256: dict[str, str]  # of what was asked, by kind: json_schema, regex, ebnf, structural_tag, tools
    backend: str | None  # that held the answer to it
    verdict: Verdict  # by a second reader, outside of the backend
    detail: str | None  # what is wrong and where, or why there is no verdict
    forced_tokens: int  # that the grammar left no choice of
    sampled_tokens: int
    finish_reason: str
    matched_stop: int | str | None


async def certify(promise: Promise, message: Message, finish: Finish | None, usage: Usage, judge: Judge) -> Certificate:
    """An answer that did not come to its own end is never valid, whatever it looks like."""
    reason = finish.reason if finish else "abort"
    matched = finish.detail if finish and reason == "stop" else None
    verdict: Verdict = "cut off"
    detail = f"ended by {reason}"
    if reason == "stop":
        opinion = await worst(promise, message, judge)
        verdict, detail = opinion.verdict, opinion.detail
        if verdict == "invalid" and isinstance(matched, str):
            verdict, detail = "cut off", f"ended by a stop string: {detail}"
    return Certificate(
        sha256=digests(promise),
        backend=usage.backend or None,
        verdict=verdict,
        detail=detail or None,
        forced_tokens=usage.forced,
        sampled_tokens=usage.output - usage.forced,
        finish_reason=reason,
        matched_stop=matched,
    )


async def worst(promise: Promise, message: Message, judge: Judge) -> Opinion:
    """The first part that is not valid."""
    questions: list[Question] = []
    for name, arguments in message.calls:
        if wanted := promise.calls.get(name):
            questions.append(Question(kind="json_schema", source=wanted.grammar.source, text=arguments))
    if promise.content and not message.calls:
        kind, source = promise.content.grammar.kind, promise.content.grammar.source
        questions.append(Question(kind=kind, source=source, text=message.content))
    if promise.must_call and not message.calls:
        return Opinion("invalid", "no tool was called")
    for question in questions:
        opinion = await judge.ask(question)
        if opinion.verdict != "valid":
            return opinion
    return Opinion("valid")


def digests(promise: Promise) -> dict[str, str]:
    """Of regular expressions and EBNF as they are, of all else as compact JSON with sorted keys, in UTF-8."""
    found: dict[str, str] = {}
    if promise.content:
        kind, source = promise.content.grammar.kind, promise.content.grammar.source
        found[kind] = digest(source if kind in ("regex", "ebnf") else canonical(json.loads(source)))
    if promise.calls:
        schemas = {name: json.loads(wanted.grammar.source) for name, wanted in promise.calls.items()}
        found["tools"] = digest(canonical(schemas))
    return found


def canonical(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
