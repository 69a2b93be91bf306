"""Acorn's text, tokenizer and folder."""

import json
import random
import re
import sys
from functools import cache
from itertools import islice
from pathlib import Path

import jinja2
import pytest

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT))

from tokenizers import Tokenizer  # noqa: E402  # the tools lie outside the package, so the path comes first

from tools.acorn import arithmetic, errands, records, tool_families, world  # noqa: E402
from tools.acorn.checkpoint import folder_bytes  # noqa: E402
from tools.acorn.draw import Draw, held_out_wordings, is_held_out  # noqa: E402
from tools.acorn.exam import TASKS, questions, unseen_names  # noqa: E402
from tools.acorn.mix import samples, training_draw  # noqa: E402
from tools.acorn.packing import NOT_LEARNED, batches, encode  # noqa: E402
from tools.acorn.render import chat_parts, parts_of, prompt_of  # noqa: E402
from tools.acorn.sample import Chat, Message, Text  # noqa: E402
from tools.acorn.tokenizer import name_pieces  # noqa: E402

FOLDER = ROOT / "models" / "acorn"
LIMIT_BYTES = 12_000_000


@cache
def tokenizer() -> Tokenizer:
    """Acorn's tokenizer."""
    return Tokenizer.from_file(str(FOLDER / "tokenizer.json"))


@cache
def training_texts(count: int) -> tuple[str, ...]:
    """The text of the first training samples."""
    drawn = islice(samples(training_draw(1, name_pieces(tokenizer()))), count)
    return tuple("".join(text for text, _ in parts_of(sample)) for sample in drawn)


@cache
def template() -> jinja2.Template:
    """The chat template as the engine compiles it."""
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment.from_string(json.loads((FOLDER / "tokenizer_config.json").read_text())["chat_template"])


def as_api(message: Message) -> dict[str, object]:
    """A message as a client sends it."""
    shown: dict[str, object] = {"role": message.role, "content": message.content}
    if message.thought:
        shown["reasoning_content"] = message.thought
    if message.calls:
        shown["tool_calls"] = [
            {"type": "function", "function": {"name": call.name, "arguments": dict(call.arguments)}}
            for call in message.calls
        ]
    return shown


def rendered(chat: Chat, **more: object) -> str:
    """A chat through the template."""
    return template().render(
        messages=[as_api(message) for message in chat.messages],
        tools=[tool.schema() for tool in chat.tools] or None,
        enable_thinking=chat.thinking,
        **more,
    )


def chats(count: int) -> list[Chat]:
    """Training chats."""
    return [sample for sample in islice(samples(training_draw(3)), count) if isinstance(sample, Chat)]


def test_a_seed_gives_the_same_text() -> None:
    one, two = (list(islice(samples(training_draw(5)), 200)) for _ in range(2))
    assert one == two
    assert one != list(islice(samples(training_draw(6)), 200))


def test_held_out_additions_never_appear() -> None:
    for text in training_texts(20_000):
        for a, b in re.findall(r"\b(\d{1,2}) ?(?:\+|plus) ?(\d{1,2})\b(?![\d:.])", text):
            if "<think>" in text or "people" in text or min(int(a), int(b)) < 10:
                continue
            low, high = sorted((int(a), int(b)))
            assert not is_held_out("addition", f"{low}+{high}"), text


def test_held_out_names_never_appear() -> None:
    asked = [question for task in ("extraction", "tool calls") for question in questions(task, 400, True, seed=11)]
    names = {
        name.lower() for question in asked for name in re.findall(r'"([A-Z][a-z]{4,}) [A-Z][a-z]+"', question.right)
    }
    names = {name for name in names if is_held_out("word", name)}
    trained = {word.lower() for text in training_texts(20_000) for word in re.findall(r"[A-Z][a-z]{4,}", text)}
    assert len(names) > 100
    assert names & trained == set()


@pytest.mark.parametrize(
    "wordings",
    [
        arithmetic.ADDITIONS,
        records.INSTRUCTIONS,
        *(record.sentences for record in records.RECORDS),
        *(asks for kind, asks in world.ASKS.items() if kind != "place"),
        *(family.requests for family in (*tool_families.FAMILIES, *errands.ERRANDS)),
    ],
)
def test_held_out_wordings_never_appear(wordings: tuple[str, ...]) -> None:
    held_out = held_out_wordings(wordings)
    assert held_out
    assert len(held_out) < len(wordings)
    texts = "\n".join(training_texts(20_000))
    # A wording that begins with a gap has no words of its own to look for where a message begins.
    for wording in (wording for wording in held_out if not wording.startswith("{")):
        gaps = r"(?!me\b)[^\n?]*?".join(re.escape(part) for part in re.split(r"\{\w+\}", wording))
        assert not re.search(r"user\n" + gaps + r"<\|im_end", texts), wording


def test_the_examination_asks_enough_names() -> None:
    asked = [question for wordings in (False, True) for question in questions("extraction", 500, wordings)]
    assert unseen_names(asked) >= 500
    assert all(question.is_right(question.right) for task in TASKS for question in questions(task, 20, True))


def test_the_template_renders_what_was_trained() -> None:
    for chat in chats(400):
        assert rendered(chat) == "".join(text for text, _ in chat_parts(chat))


def test_the_template_ends_where_the_answer_begins() -> None:
    for chat in chats(100):
        prompt, right = prompt_of(chat)
        asked = Chat(messages=chat.messages[:-1], tools=chat.tools, thinking=chat.thinking)
        assert rendered(asked, add_generation_prompt=True) == prompt
        assert right


def test_the_template_thinks_only_when_asked() -> None:
    asked = Chat(messages=(Message(role="user", content="Hi"),))
    assert "Think" not in rendered(asked)
    assert "Think before you answer." in rendered(Chat(messages=asked.messages, thinking=True))
    without = template().render(messages=[{"role": "user", "content": [{"type": "text", "text": "Hi"}]}])
    assert without == "<|im_start|>user\nHi<|im_end|>\n"


def test_parts_are_spelled_alike_together_and_apart() -> None:
    for sample in islice(samples(training_draw(4, name_pieces(tokenizer()))), 300):
        parts = parts_of(sample)
        whole = tokenizer().encode("".join(text for text, _ in parts), add_special_tokens=False).ids
        assert encode(tokenizer(), [parts])[0].tokens == whole


def test_rows_hold_the_answers() -> None:
    tokens, targets = next(batches(training_draw(2), tokenizer(), [256], 1024))
    assert tokens.shape == targets.shape == (4, 256)
    learned = (targets != NOT_LEARNED).float().mean().item()
    assert 0.1 < learned < 0.7


def test_names_are_spelled_alike_everywhere() -> None:
    name = Draw(random.Random(1)).first_name()
    spelled = tokenizer().encode(name).ids
    for text in (f"I am {name}.", f'{{"name": "{name}"}}', f"{name}:"):
        ids = tokenizer().encode(text).ids
        assert any(ids[place : place + len(spelled)] == spelled for place in range(len(ids)))


def test_text_comes_back() -> None:
    for text in ("Zürich – 37 + 45 = 82\n\n  ok", '{"a": [1, 2]}', "I'm HERE… 東京 🎉"):
        assert tokenizer().decode(tokenizer().encode(text).ids) == text


def test_plain_text_is_learned_in_full() -> None:
    assert parts_of(Text(text="Once upon a time.")) == [("Once upon a time.<|endoftext|>", True)]


def test_the_folder_is_small() -> None:
    assert folder_bytes(FOLDER) <= LIMIT_BYTES
