"""Texts are spelled as the library would spell them, by tokenizers of every kind."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from stemma.control.spelling import tokens as module
from stemma.control.spelling.tokens import read_tokens, special_tokens
from tests.architecture.source import ROOT
from tests.unit.control.grammar.test_forced import ACORN, TEXT, trained

PROSE = (ROOT / "docs" / "architecture.md").read_text() + TEXT
ODD = ["<|im_start|>", "<s>", " ", "  ", "\n", "a" * 300, "▁", "x▁▁y", "日本語", "🎉", "é", "<0x41>", "\x00", "don't"]


def acorn(**changes: object) -> str:
    file = json.loads(ACORN.read_text())
    file["model"] |= changes
    return json.dumps(file)


def in_lines() -> str:
    """Merges as older files have them, each as one string."""
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in json.loads(acorn())["model"]["merges"]]
    return acorn(merges=merges)


def whole_words() -> str:
    """As Llama 3: a word that is a token is that one, though no pairs make it."""
    model = json.loads(acorn())["model"]
    *merges, last, other = model["merges"]
    ids = [model["vocab"].pop("".join(pair)) for pair in (last, other)]
    words = dict(zip(("Ġsupervisor", "Ġabsorbed"), ids, strict=True))
    return acorn(ignore_merges=True, vocab=model["vocab"] | words, merges=merges)


def across_blanks() -> str:
    """As Gemma: no words, and tokens that have blanks inside."""
    made = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    made.normalizer = Tokenizer.from_str(trained("pieces")).normalizer
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    made.train_from_iterator([PROSE], trainers.BpeTrainer(vocab_size=500, special_tokens=["<unk>", "<s>"]))
    assert any("▁" in piece.strip("▁") for piece in made.get_vocab())
    return str(made.to_str())


def unigram() -> str:
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    made.train_from_iterator(
        [PROSE], trainers.UnigramTrainer(vocab_size=300, unk_token="<unk>", special_tokens=["<unk>"])
    )
    return str(made.to_str())


KINDS: dict[str, Callable[[], str]] = {
    "acorn": acorn,
    "lines": in_lines,
    "whole words": whole_words,
    "pieces": lambda: trained("pieces"),
    "across blanks": across_blanks,
    "unigram": unigram,
}


@pytest.mark.parametrize("kind", KINDS)
def test_spelling_is_that_of_the_library(kind: str) -> None:
    source = KINDS[kind]()
    tokens, library, random = read_tokens(source, 2048), Tokenizer.from_str(source), Random(3)
    for _ in range(600):
        start = random.randrange(len(PROSE))
        text = PROSE[start : start + random.randrange(1, 120)] + random.choice(["", *ODD]) + random.choice(["", *ODD])
        found = library.encode(text, add_special_tokens=False)
        assert tokens.spell(text) == (found.ids, found.word_ids), text
    for id in range(library.get_vocab_size()):
        if len(tokens.texts[id]) > 1 and kind in ("acorn", "lines", "whole words"):
            assert library.decode([id], skip_special_tokens=False).encode()[:2] in (
                tokens.texts[id][:2],
                "\ufffd".encode()[:2],
            )


def test_the_library_reads_no_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would stop all threads for as long as it reads, a third of a second with 152k tokens."""
    given: list[dict[str, Any]] = []

    class Watched:
        @staticmethod
        def from_str(text: str) -> Tokenizer:
            given.append(json.loads(text)["model"])
            return Tokenizer.from_str(text)

    monkeypatch.setattr(module, "Tokenizer", Watched)
    tokens = read_tokens(ACORN.read_bytes(), 2048)
    assert tokens.encode("supervisor") == Tokenizer.from_file(str(ACORN)).encode("supervisor").ids
    (model,) = given
    assert model["merges"] == [] and len(model["vocab"]) < 300


def test_special_tokens_add_nothing_to_a_text() -> None:
    special = special_tokens(ACORN.read_bytes(), 2048)
    assert special["<|im_end|>"] == 2043
    texts = read_tokens(ACORN.read_bytes(), 2048).texts
    assert not any(texts[id] for id in special.values())
    assert texts[json.loads(acorn())["model"]["vocab"]["Ġthe"]] == b" the"
