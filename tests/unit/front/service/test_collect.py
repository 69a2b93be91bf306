import asyncio
from random import Random
from typing import Any

import pytest

from stemma.core.types.output import Finish, Logprob, TextChunk, TokenChunk, Usage
from stemma.core.types.request import Abort
from stemma.core.types.sampling import SamplingParams
from stemma.front.service.collect import Collector, Mailbox
from stemma.front.text.stop import Stops
from tests.unit.front.vocabularies import vocabularies

VOCABULARIES = vocabularies()
PLAIN = VOCABULARIES["byte level"]


def collector(name: str = "byte level", **sampling: Any) -> Collector:
    params = SamplingParams(**sampling)
    return Collector("a", 0, VOCABULARIES[name], params, Stops(params.stop, params.stop_regex))


def chunks_of(tokens: list[int], finish: Finish, size: int) -> list[TokenChunk]:
    """What an engine says that is not told to stop, `size` tokens at a time."""
    parts = [tuple(tokens[at : at + size]) for at in range(0, len(tokens), size)] or [()]
    return [
        TokenChunk(
            id="a",
            tokens=part,
            logprobs=tuple(Logprob(token, -1.0) for token in part),
            finish=finish if at == len(parts) - 1 else None,
            usage=Usage(prompt=3, output=len(tokens)) if at == len(parts) - 1 else None,
        )
        for at, part in enumerate(parts)
    ]


def collect(of: Collector, chunks: list[TokenChunk]) -> tuple[TextChunk, list[Abort]]:
    """All news as one chunk, and the aborts."""
    news, aborts = zip(*(of.add(chunk) for chunk in chunks), strict=True)
    whole = TextChunk(
        id="a",
        text="".join(chunk.text for chunk in news),
        tokens=tuple(token for chunk in news for token in chunk.tokens),
        logprobs=tuple(logprob for chunk in news for logprob in chunk.logprobs),
        finish=news[-1].finish,
        usage=news[-1].usage,
    )
    assert all(chunk.finish is None for chunk in news[:-1])
    return whole, [abort for abort in aborts if abort is not None]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize("trim", [True, False])
@pytest.mark.parametrize("name", VOCABULARIES)
def test_a_stop_string_ends_everything_at_the_token_that_completes_it(name: str, trim: bool, size: int) -> None:
    tokenizer = VOCABULARIES[name]
    for text in ("the |cat| the", "日本 a|é\n|the", "|t|he", "a|😀|😀"):
        before, stop, after = text.split("|")
        tokens = tokenizer.encode(before + stop + after, add_special_tokens=False)
        whole, aborts = collect(collector(name, stop=(stop,), no_stop_trim=not trim),
                                chunks_of(tokens, Finish(reason="length"), size))  # fmt: skip
        assert whole.text == (before if trim else before + stop)
        keep = next(count for count in range(len(tokens) + 1) if stop in tokenizer.decode(tokens[:count]))
        if name != "byte level" and stop == "😀":
            keep += 4  # a run of byte tokens counts whole
        assert aborts == [Abort(id="a", reason="stop", keep=keep, matched=stop)]
        assert whole.tokens == tuple(tokens[:keep])
        assert [logprob.token for logprob in whole.logprobs] == tokens[:keep]
        assert whole.finish == Finish(reason="stop", detail=stop)
        assert whole.usage == Usage(prompt=3, output=keep)


def test_what_is_found_does_not_depend_on_how_steps_arrive() -> None:
    random = Random(3)
    for _ in range(300):
        tokens = [random.choice(b"ab \n") for _ in range(random.randrange(1, 20))]
        finish = random.choice([Finish(reason="length"), Finish(reason="stop", detail=tokens[-1])])
        results = [
            collect(collector(stop=("ab", "a a"), stop_regex=("b{2}",)), chunks_of(tokens, finish, size))
            for size in (1, 2, 5, 30)
        ]
        assert all(result == results[0] for result in results)


@pytest.mark.parametrize(("no_stop_trim", "text"), [(False, "ab"), (True, "ab<think>")])
def test_a_stop_token_counts_and_is_not_said(no_stop_trim: bool, text: str) -> None:
    end = PLAIN.id_of("<think>")
    assert end is not None
    tokens = [*b"ab", end]
    chunks = chunks_of(tokens, Finish(reason="stop", detail=end), 1)
    whole, aborts = collect(collector(no_stop_trim=no_stop_trim), chunks)
    assert (whole.text, whole.tokens, aborts) == (text, tuple(tokens), [])
    assert whole.finish == Finish(reason="stop", detail=end)
    assert whole.usage == Usage(prompt=3, output=3)


def test_the_same_token_is_said_where_it_ends_nothing() -> None:
    tokens = [*b"abab"]
    assert collect(collector(), chunks_of(tokens, Finish(reason="stop", detail=tokens[-1]), 4))[0].text == "aba"
    assert collect(collector(), chunks_of(tokens, Finish(reason="length"), 4))[0].text == "abab"


@pytest.mark.parametrize("skip", [True, False])
def test_special_tokens_are_skipped_when_asked(skip: bool) -> None:
    assert PLAIN.eos_id is not None
    chunks = chunks_of([*b"a", PLAIN.eos_id, *b"b"], Finish(reason="length"), 1)
    whole, _ = collect(collector(skip_special_tokens=skip), chunks)
    assert whole.text == ("ab" if skip else "a<|im_end|>b")


def test_what_was_held_back_is_said_at_the_end() -> None:
    tokens = [*"the é".encode()][:-1]
    whole, aborts = collect(collector(stop=(" éa", "the \ufffdx")), chunks_of(tokens, Finish(reason="length"), 1))
    assert (whole.text, aborts) == ("the \N{REPLACEMENT CHARACTER}", [])


def test_a_stop_in_what_was_held_back_counts() -> None:
    tokens = [3 + byte for byte in b"abc"]
    whole, aborts = collect(collector("llama", stop=("bc",)), chunks_of(tokens, Finish(reason="length"), 1))
    assert (whole.text, whole.finish) == ("a", Finish(reason="stop", detail="bc"))
    assert [abort.keep for abort in aborts] == [3]


def test_errors_and_aborts_are_told_even_after_a_stop() -> None:
    for finish in (Finish(reason="error", code=503, detail="died"), Finish(reason="abort")):
        whole, _ = collect(collector(stop=("b",)), chunks_of([*b"abc"], finish, 1))
        assert (whole.text, whole.finish) == ("a", finish)


async def test_a_slow_reader_finds_one_chunk_of_each() -> None:
    mailbox = Mailbox()
    for at in range(3):
        for index in (1, 0):
            mailbox.put(TextChunk(id="a", index=index, text=str(at), tokens=(at,), usage=Usage(prompt=at)))
    mailbox.put(TextChunk(id="a", index=2))  # nothing to tell
    mailbox.put(TextChunk(id="a", index=0, finish=Finish(reason="length")))
    expected = TextChunk(id="a", index=1, text="012", tokens=(0, 1, 2), usage=Usage(prompt=2))
    assert await mailbox.take() == expected
    mailbox.put(TextChunk(id="a", index=1, text="3"))
    assert (await mailbox.take()).finish == Finish(reason="length")
    assert (await mailbox.take()).text == "3"
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(mailbox.take(), 0.01)
    mailbox.fail(ValueError("broken"))
    with pytest.raises(ValueError, match="broken"):
        await mailbox.take()
