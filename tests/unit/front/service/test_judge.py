"""The process that checks: it answers, it is killed when it takes too long, and the next one answers."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

from stemma.core.types.grammar import Grammar
from stemma.core.types.output import Finish, Usage
from stemma.front.service.judge import Judge
from stemma.front.service.promise import Certificate, Message, Promise, Wanted, certify
from stemma.front.text.opinion import Opinion, Question

INTEGER = Question(kind="json_schema", source='{"type": "integer"}', text="3")
DOUBLED = {f"d{at}": {"allOf": [{"$ref": f"#/$defs/d{at + 1}"}] * 2} for at in range(60)} | {"d60": {}}
HOSTILE = Question(kind="json_schema", source=json.dumps({"$defs": DOUBLED, "$ref": "#/$defs/d0"}), text="3")


@contextmanager
def judging(seconds: float = 20.0) -> Iterator[Judge]:
    judge = Judge(seconds)
    try:
        yield judge
    finally:
        judge.close()


async def test_it_answers_and_outlives_what_never_ends() -> None:
    with judging() as judge:
        assert await judge.ask(INTEGER) == Opinion("valid")
        judge._seconds = 0.3
        began = time.monotonic()
        assert await judge.ask(HOSTILE) == Opinion("unchecked", "the check took longer than 0.3 s")
        assert time.monotonic() - began < 10
        judge._seconds = 20.0
        assert await judge.ask(INTEGER) == Opinion("valid")


async def test_a_child_that_died_is_replaced() -> None:
    with judging() as judge:
        assert (await judge.ask(INTEGER)).verdict == "valid"
        assert judge._child is not None
        judge._child.kill()
        judge._child.wait()
        assert (await judge.ask(INTEGER)).verdict == "unchecked"
        assert (await judge.ask(INTEGER)).verdict == "valid"


def wanted(kind: str, source: str) -> Wanted:
    return Wanted(Grammar(kind, source), "field")  # type: ignore[arg-type]  # the tests name known kinds


async def test_certificates() -> None:
    schema = wanted("json_schema", '{"type": "object", "required": ["é"]}')
    promise = Promise(grammar=schema.grammar, content=schema, calls={"f": schema})
    usage = Usage(prompt=3, output=10, forced=4, backend="one")
    ended, stopped, long = Finish(reason="stop", detail=7), Finish(reason="stop", detail="}"), Finish(reason="length")

    with judging() as judge:

        async def of(finish: Finish | None, content: str, *calls: tuple[str, str], must: bool = False) -> Certificate:
            made = Promise(
                grammar=promise.grammar, content=None if must else schema, calls=promise.calls, must_call=must
            )
            return await certify(made, Message(content, calls), finish, usage, judge)

        good = await of(ended, '{"é": 1}')
        assert (good.verdict, good.detail, good.backend) == ("valid", None, "one")
        assert (good.forced_tokens, good.sampled_tokens, good.finish_reason, good.matched_stop) == (4, 6, "stop", 7)
        bad = await of(ended, "{}")
        assert bad.verdict == "invalid" and "é" in str(bad.detail)
        for finish in (long, Finish(reason="abort"), None):
            cut = await of(finish, '{"é": 1}')
            assert cut.verdict == "cut off"
        assert (await of(stopped, '{"é": 1')).verdict == "cut off"
        assert (await of(ended, "", ("f", '{"é": 1}'), ("f", '{"é": 2}'))).verdict == "valid"
        assert (await of(ended, "", ("f", '{"é": 1}'), ("f", "{}"))).verdict == "invalid"
        assert (await of(ended, "hello", must=True)).verdict == "invalid"
