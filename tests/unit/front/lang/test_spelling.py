"""What a model said keeps its tokens; the text around it is spelled as if nothing stood between."""

import random
from collections.abc import Sequence

import pytest

from stemma.front.lang.errors import Refused
from stemma.front.lang.spelling import Speller
from stemma.front.lang.templates import template_named
from stemma.front.lang.transcript import Said, Transcript
from stemma.front.text.tokenizer import Tokenizer
from tests.unit.front.vocabularies import EOS, metaspace_backend, vocabularies

TOKENIZERS = vocabularies()


class Local:
    """A tokenizer as a backend's, and what it was asked."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        self.calls = 0

    def encode(self, texts: Sequence[str], add_special_tokens: bool) -> list[list[int]]:
        self.calls += 1
        return self.tokenizer.encode_batch(texts, add_special_tokens)

    def decode(self, tokens: Sequence[list[int]], skip_special_tokens: bool) -> list[str]:
        self.calls += 1
        return [self.tokenizer.decode(each, skip_special_tokens) for each in tokens]


class Deaf(Local):
    def encode(self, texts: Sequence[str], add_special_tokens: bool) -> list[list[int]]:
        raise Refused("404")


def transcript(*parts: str | tuple[str, list[int], bool]) -> Transcript:
    """Texts, and what a model said: text, tokens, whether a stop string cut it."""
    made = Transcript(template_named("default"))
    for part in parts:
        if isinstance(part, str):
            made.text += part
        else:
            begin = len(made.text)
            made.text += part[0]
            made.said = (*made.said, Said(begin, len(made.text), part[1], part[2]))
    return made


@pytest.mark.parametrize("name", TOKENIZERS)
def test_what_was_said_keeps_its_tokens_and_the_text_is_whole(name: str) -> None:
    tokenizer = TOKENIZERS[name]
    chance = random.Random(0)
    speller = Speller(Local(tokenizer))
    begins = tokenizer.encode("")
    for _ in range(50):
        texts = ["".join(chance.choices("thea cingé\n日", k=chance.randrange(1, 9))) for _ in range(3)]
        texts[0] = "Q" + texts[0]  # a space at the very beginning is lost by one of the vocabularies itself
        # Letter by letter: not as the text would be tokenised.
        saids = [[token for letter in "".join(chance.choices("theacing", k=5)) for token in sign(tokenizer, letter)]
                 for _ in range(2)]  # fmt: skip
        spoken = [tokenizer.decode_after_start(said) for said in saids]
        whole = transcript(texts[0], (spoken[0], saids[0], False), texts[1], (spoken[1], saids[1], False), texts[2])
        (tokens,) = speller.spell(whole) or []
        assert tokenizer.decode(tokens) == whole.text
        first = tokenizer.encode(texts[0])
        assert tokens[: len(first) + 5] == first + saids[0]
        assert tokens[: len(begins)] == begins and tokens.count(1) == begins.count(1)
        (before,) = speller.spell(transcript(texts[0], (spoken[0], saids[0], False), texts[1])) or []
        assert tokens[: len(before) + 5] == before + saids[1]


def sign(tokenizer: Tokenizer, letter: str) -> list[int]:
    """A letter behind other text."""
    token = tokenizer.id_of(letter)
    assert token is not None
    return [token]


def test_a_stop_string_may_cut_a_token() -> None:
    tokenizer = TOKENIZERS["byte level"]
    the, cat = tokenizer.id_of("Ġthe"), tokenizer.id_of("Ġcat")
    assert the is not None and cat is not None
    speller = Speller(Local(tokenizer))
    between = transcript("Q", (" the", [the, cat, 10], True), " A")
    within = transcript("Q", (" the c", [the, cat, 10], True), " A")
    nothing = transcript("Q", ("", [10], True), " A")
    assert speller.spell(between) == [[81, the, *tokenizer.encode(" A")]]
    assert speller.spell(within) == [[81, the, *tokenizer.encode(" c A")]]
    assert speller.spell(nothing) == [[81, *tokenizer.encode(" A")]]
    many = transcript("Q", ("a" * 40, [97] * 40 + [98] * 40, True))
    assert speller.spell(many) == [[81] + [97] * 40]


def test_endings_share_what_stands_before() -> None:
    tokenizer = TOKENIZERS["byte level"]
    local = Local(tokenizer)
    speller = Speller(local)
    alone = speller.spell(transcript("Is it? "), ("", "yes", "no"))
    assert alone == [tokenizer.encode(text) for text in ("Is it? ", "Is it? yes", "Is it? no")]
    said = transcript("Q", (" the", [32, 116, 104, 101], False), " c")
    spelled = speller.spell(said, ("", "at"))
    assert spelled == [[81, 32, 116, 104, 101, tokenizer.id_of("Ġc")], [81, 32, 116, 104, 101, tokenizer.id_of("Ġcat")]]
    asked = local.calls
    assert speller.spell(said, ("", "at")) == spelled and local.calls == asked


def test_turns_begin_with_their_special_tokens() -> None:
    tokenizer = Tokenizer(metaspace_backend(), EOS)
    (tokens,) = Speller(Local(tokenizer)).spell(transcript("a", ("b", sign(tokenizer, "b"), False), f"{EOS}a")) or []
    assert tokens == [*tokenizer.encode("a"), *sign(tokenizer, "b"), *tokenizer.encode(f"b{EOS}a", False)[-2:]]


def test_where_no_tokenizer_answers_text_is_sent() -> None:
    said = transcript("Q", ("a", [97], False))
    assert Speller(Deaf(TOKENIZERS["byte level"])).spell(said) is None


def test_text_that_is_rewritten_loses_its_tokens() -> None:
    whole = transcript("Q", ("a", [97], False), "|", ("b", [98], False))
    whole.rewrite(2, "c")
    assert whole.text == "Qac" and [said.tokens for said in whole.said] == [[97]]
