"""Forced text is spelled as the tokenizer spells the finished answer, wherever the model's own tokens end."""

from array import array
from functools import cache
from itertools import accumulate
from pathlib import Path
from random import Random

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from stemma.control.grammar.forced import Speller
from stemma.control.spelling.tokens import Tokens, read_tokens

ACORN = Path(__file__).parents[4] / "models" / "acorn" / "tokenizer.json"
WORDS = ["name", "occupation_of_the_person", "is_valid", "Größe", "年齢", "a", "x1", "street-address", "don't", "  "]
TEXT = " ".join(f'{{"{word}": "{other}", "{other}":{at}}}' for at, word in enumerate(WORDS) for other in WORDS)


def trained(kind: str) -> str:
    """The tokenizer of GPT-2's kind, or of Llama 2's, which knows no words and puts a space first."""
    made = Tokenizer(models.BPE(byte_fallback=True) if kind == "pieces" else models.BPE())
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if kind == "pieces":
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
        alphabet = sorted(set(TEXT))
    else:
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
    special = ["<s>", *(f"<0x{byte:02X}>" for byte in range(256))] if kind == "pieces" else ["<s>"]
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=special[:1], initial_alphabet=alphabet)
    texts = TEXT.split() if kind == "pieces" else [TEXT]
    made.train_from_iterator(texts, trainer)
    return str(made.to_str())


@cache
def tokens_of(kind: str) -> Tokens:
    return read_tokens(ACORN.read_text() if kind == "acorn" else trained(kind), 4096)


def random_text(random: Random) -> str:
    pairs = [f'"{random.choice(WORDS)}":{random.choice(["", " "])}"{random.choice(WORDS)}"' for _ in range(4)]
    return "{" + random.choice([",", ", ", ",  "]).join(pairs) + "}"


def ends_of(tokens: Tokens, ids: list[int]) -> list[int]:
    return list(accumulate(len(tokens.texts[id]) for id in ids))


def as_drawn(random: Random, tokens: Tokens, text: str) -> list[int]:
    """A text as a model may have spelled it: a part as the tokenizer does, then in smaller tokens."""
    cut = random.randrange(len(text) + 1)
    return [id for part in (text[:cut], *text[cut:]) if part for id in tokens.encode(part)]


@pytest.mark.parametrize("kind", ["acorn", "gpt2", "pieces"])
def test_what_is_given_stands_in_the_finished_answer(kind: str) -> None:
    tokens, random = tokens_of(kind), Random(5)
    speller = Speller(tokens)
    space = b" " if kind == "pieces" else b""  # it begins every text
    given = replaced = 0
    for _ in range(400):
        text = random_text(random)
        cut = random.randrange(1, len(text))
        end = random.randrange(cut, len(text)) + 1
        known = tokens.encode(text[:cut]) if space else as_drawn(random, tokens, text[:cut])
        may_replace, most = random.random() < 0.5, random.choice([3, 99])
        found = speller.spell(array("i", known), may_replace, text[cut:end].encode(), most)
        assert found.replaced <= may_replace and len(found.tokens) <= most + found.replaced
        if not found.tokens:
            continue
        given, replaced = given + 1, replaced + found.replaced
        answer = known[: len(known) - found.replaced] + found.tokens
        said = b"".join(tokens.texts[id] for id in answer)
        assert (space + text.encode()).startswith(said) and len(said) > len(space + text[:cut].encode())
        whole = tokens.encode(text)
        places = dict(zip(ends_of(tokens, whole), whole, strict=True))
        for end_of, id in zip(ends_of(tokens, answer)[-len(found.tokens) :], found.tokens, strict=True):
            assert places[end_of] == id, (text, answer, found)
    assert given > 40 and replaced > 5


def test_a_window_is_enough_for_a_long_answer() -> None:
    tokens, random = tokens_of("acorn"), Random(1)
    text = " ".join(random_text(random) for _ in range(40))
    known, forced = text[: text.rindex("{")], text[text.rindex("{") :]
    found = Speller(tokens).spell(array("i", tokens.encode(known)), True, forced.encode(), 99)
    spelled = tokens.encode(known)[: len(tokens.encode(known)) - found.replaced] + found.tokens
    assert len(found.tokens) > 5 and tokens.encode(text)[: len(spelled)] == spelled


@pytest.mark.parametrize(
    ("known", "forced"),
    [
        ([], b"a"),  # the only word may go on
        ([0xE5], b'": "name": '),  # inside a character
        (["say nam"], b"e"),
    ],
)
def test_where_there_is_no_border_nothing_is_given(known: list[int | str], forced: bytes) -> None:
    tokens = tokens_of("gpt2")
    ids: list[int] = []
    for part in known:
        ids += tokens.encode(part) if isinstance(part, str) else [tokens.texts.index(bytes([part]))]
    assert Speller(tokens).spell(array("i", ids), True, forced, 99).tokens == []


def test_a_special_token_is_a_border() -> None:
    tokens = tokens_of("gpt2")
    known = array("i", tokens.encode("{<s>"))
    found = Speller(tokens).spell(known, True, b'"name": "a", ', 99)
    assert found.replaced == 0 and b"".join(tokens.texts[id] for id in found.tokens).startswith(b'"name"')
