"""How much of which text acorn learns."""

import random
from collections.abc import Callable, Iterator

from tools.acorn import talk, world
from tools.acorn.arithmetic import THOUGHTS, addition_turn, small_number_turn, thoughtful_addition_turn
from tools.acorn.draw import Draw
from tools.acorn.records import record_turn
from tools.acorn.sample import Chat, Message, Text, Turn
from tools.acorn.stories import plain_text, story_turn, summary_turn
from tools.acorn.text_tasks import text_task_turn
from tools.acorn.tool_calls import single_call, tool_chat

TurnMaker = Callable[[Draw], Turn]
SYSTEMS = (
    "You are a helpful assistant.",
    "You are acorn.",
    "Be brief.",
    "You are a helpful assistant. Answer briefly.",
)


def _chat(draw: Draw, turns: list[Turn], thinking: bool = False) -> Chat:
    messages = [message for turn in turns for message in turn]
    if draw.chance(0.12):
        messages.insert(0, Message(role="system", content=draw.pick(SYSTEMS)))
    return Chat(messages=tuple(messages), thinking=thinking)


def _repeated(maker: TurnMaker, low: int, high: int) -> Callable[[Draw], Chat]:
    return lambda draw: _chat(draw, [maker(draw) for _ in range(draw.number(low, high))])


TURNS: tuple[TurnMaker, ...] = (
    addition_turn,
    addition_turn,
    record_turn,
    world.fact_turn,
    world.fact_turn,
    text_task_turn,
    talk.talk_turn,
    small_number_turn,
)


def mixed_chat(draw: Draw) -> Chat:
    """A chat in which every turn is something else, and which may come back to the name of the user."""
    turns = [draw.rng.choice(TURNS)(draw) for _ in range(draw.number(1, 5))]
    if draw.chance(0.4):
        told, asked = talk.naming_turns(draw)
        turns.insert(draw.number(0, min(1, len(turns))), told)
        turns.insert(draw.number(turns.index(told) + 1, len(turns)), asked)
    return _chat(draw, turns)


def talk_chat(draw: Draw) -> Chat:
    """Small talk, often with a name that is asked again."""
    if draw.chance(0.3):
        return _chat(draw, list(talk.naming_turns(draw)))
    return _repeated(talk.talk_turn, 1, 3)(draw)


THOUGHT_OF: tuple[tuple[TurnMaker, str], ...] = (
    (record_turn, "I look for each key in the text."),
    (world.fact_turn, "This is a question about Oakmere. I know the answer."),
    (text_task_turn, "I read the task and do it step by step."),
    (talk.talk_turn, "This is small talk. I answer kindly."),
    (small_number_turn, "This is a question about numbers."),
)


def thinking_chat(draw: Draw) -> Chat:
    """A chat whose last answer begins with a thought, because the system or the user asked for it."""
    if draw.chance(0.15):
        called, call = single_call(draw)
        *before, last = called.messages
        thought = f"I need a tool for this: {call.name}."
        return Chat(
            messages=(*before, Message(role="assistant", calls=last.calls, thought=thought)),
            tools=called.tools,
            thinking=True,
        )
    before_turns = [draw.rng.choice(TURNS)(draw) for _ in range(draw.number(0, 1))]
    if draw.chance(0.6):
        question, answer = thoughtful_addition_turn(draw)
    else:
        maker, thought = draw.rng.choice(THOUGHT_OF)
        question, plain = maker(draw)
        answer = Message(role="assistant", content=plain.content, thought=thought)
    if draw.chance(0.7):
        return _chat(draw, [*before_turns, (question, answer)], thinking=True)
    asked = Message(role="user", content=question.content + draw.pick(THOUGHTS))
    return _chat(draw, [*before_turns, (asked, answer)])


# Each kind of sample with its weight in samples; a sample's length differs by kind.
MIX: dict[str, tuple[Callable[[Draw], Chat | Text], float]] = {
    "addition": (_repeated(addition_turn, 3, 9), 12),
    "numbers": (_repeated(small_number_turn, 2, 6), 4),
    "records": (_repeated(record_turn, 1, 3), 40),
    "tools": (tool_chat, 22),
    "facts": (_repeated(world.fact_turn, 2, 6), 6),
    "summaries": (_repeated(summary_turn, 1, 2), 1),
    "words": (_repeated(text_task_turn, 2, 4), 6),
    "talk": (talk_chat, 10),
    "mixed": (mixed_chat, 10),
    "thinking": (thinking_chat, 6),
    "stories": (_repeated(story_turn, 1, 1), 2),
    "text": (lambda draw: Text(text=plain_text(draw)), 3),
}


def samples(draw: Draw) -> Iterator[Chat | Text]:
    """Samples without end, in the proportions of the mix."""
    makers = [maker for maker, _ in MIX.values()]
    weights = [weight for _, weight in MIX.values()]
    while True:
        yield draw.rng.choices(makers, weights)[0](draw)


def training_draw(seed: int, pieces: tuple[str, ...] = ()) -> Draw:
    """A stream of training choices."""
    return Draw(random.Random(seed), pieces=pieces)
