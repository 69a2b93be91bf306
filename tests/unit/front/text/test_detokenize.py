from itertools import accumulate
from random import Random

import pytest

from stemma.front.text.detokenize import detokenizer
from stemma.front.text.tokenizer import Tokenizer
from tests.unit.front.vocabularies import vocabularies

VOCABULARIES = vocabularies()
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
TEXTS = ("the cat", "  the\n\n the", "é😀 日本 e\u0301 x", "🤦🏽‍♂️ naïve", "\x00\x7f", " ")


def deltas(tokenizer: Tokenizer, tokens: list[int], skip: bool) -> list[str]:
    text = detokenizer(tokenizer, skip)
    return [*(text.add(token) for token in tokens), text.finish()]


@pytest.mark.parametrize("name", VOCABULARIES)
@pytest.mark.parametrize("skip", [True, False])
def test_the_deltas_of_any_tokens_are_the_text_of_all(name: str, skip: bool) -> None:
    tokenizer, random = VOCABULARIES[name], Random(name)
    byte_ids = list(range(256)) if tokenizer.is_byte_level else [3 + byte for byte in range(256)]
    all_ids = [*range(tokenizer.vocab_size + 3)]  # some that the vocabulary does not have
    good = [tokenizer.encode(text) for text in TEXTS]
    for _ in range(1500):
        tokens: list[int] = []
        for _ in range(random.randrange(8)):
            kind = random.randrange(4)
            tokens += (
                random.choices(all_ids, k=random.randrange(6)),
                random.choices(byte_ids, k=random.randrange(6)),
                random.choice(good),
                random.choice(good)[: random.randrange(4)],
            )[kind]
        assert "".join(deltas(tokenizer, tokens, skip)) == tokenizer.decode(tokens, skip), tokens


@pytest.mark.parametrize("name", VOCABULARIES)
def test_text_is_said_as_soon_as_it_is_sure(name: str) -> None:
    tokenizer = VOCABULARIES[name]
    tokens = tokenizer.encode("the cat é 日本 stops ", add_special_tokens=False)
    said = list(accumulate(deltas(tokenizer, tokens, True)))
    for count, text in enumerate(said[:-1], start=1):
        whole = tokenizer.decode(tokens[:count])
        assert REPLACEMENT not in text
        if REPLACEMENT not in whole and tokenizer.byte_of(tokens[count - 1]) is None:
            assert text == whole


@pytest.mark.parametrize("name", VOCABULARIES)
def test_half_a_character_at_the_end_is_shown_as_decode_shows_it(name: str) -> None:
    tokenizer = VOCABULARIES[name]
    bytes_of_face = "😀".encode()[:3]
    tokens = list(bytes_of_face) if tokenizer.is_byte_level else [3 + byte for byte in bytes_of_face]
    *said, last = deltas(tokenizer, tokens, True)
    assert said == ["", "", ""]
    assert last == tokenizer.decode(tokens)
    assert REPLACEMENT in last


def test_late_counts_what_waited_for_the_token_after_it() -> None:
    tokenizer = VOCABULARIES["llama"]
    text = detokenizer(tokenizer, True)
    a = tokenizer.id_of("a")
    assert a is not None
    assert [text.add(token) for token in (a, 3 + ord("x"), 3 + ord("y"))] == ["a", "", ""]
    assert (text.add(a), text.late) == ("xya", 2)
    assert (text.add(a), text.late) == ("a", 0)


def test_a_long_run_of_byte_tokens_takes_linear_time() -> None:
    tokenizer = VOCABULARIES["llama"]
    tokens = [3 + 0xFF] * 200_000
    assert "".join(deltas(tokenizer, tokens, True)) == REPLACEMENT * 200_000


@pytest.mark.parametrize("name", VOCABULARIES)
def test_some_special_tokens_may_be_shown(name: str) -> None:
    tokenizer = VOCABULARIES[name]
    hidden, shown = sorted(tokenizer.special_ids)[:2]
    text = detokenizer(tokenizer, True, shown=[shown])
    (letter,) = tokenizer.encode("cat", add_special_tokens=False)[-1:]
    said = "".join(text.add(token) for token in (hidden, letter, shown, hidden)) + text.finish()
    assert said.endswith(tokenizer.text_of(shown))
    assert tokenizer.text_of(hidden) not in said
