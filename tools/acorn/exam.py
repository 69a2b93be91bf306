"""The questions of the examination: each with a prompt, a right answer and a way to judge.

Always: names, words, additions and (for `unseen` ones) wordings are those that training never meets.
"""

import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from tools.acorn import world
from tools.acorn.arithmetic import ADDITIONS, addition_turn, small_number_turn, thoughtful_addition_turn
from tools.acorn.draw import Draw
from tools.acorn.records import record_turn
from tools.acorn.render import prompt_of
from tools.acorn.sample import Chat, Turn, ask
from tools.acorn.talk import exchange_turn, naming_turns
from tools.acorn.text_tasks import text_task_turn
from tools.acorn.tool_calls import single_call

Judge = Callable[[str, str], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question. `judge(text, right)` says whether a text is right."""

    task: str
    prompt: str
    right: str
    judge: Judge

    def is_right(self, text: str) -> bool:
        """Whether this text answers the question."""
        return self.judge(text, self.right)


def exact(text: str, right: str) -> bool:
    """The same but for space around."""
    return text.strip() == right.strip()


def last_number(text: str, right: str) -> bool:
    """The last number of the text is the right one."""
    return re.findall(r"\d+", text)[-1:] == [right.strip()]


def same_json(text: str, right: str) -> bool:
    """Valid JSON with the right keys and values."""
    try:
        return bool(json.loads(text) == json.loads(right))
    except ValueError:
        return False


def same_calls(text: str, right: str) -> bool:
    """The right tool calls, in order, and nothing else."""
    found, wanted = (re.findall(r"<tool_call>\s*(.*?)\s*</tool_call>", side, re.DOTALL) for side in (text, right))
    return len(found) == len(wanted) > 0 and all(same_json(one, two) for one, two in zip(found, wanted, strict=True))


def holds(text: str, right: str) -> bool:
    """The text holds the right words."""
    return right.lower() in text.lower()


def _turn(make: Callable[[Draw], Turn], thinking: bool = False) -> Callable[[Draw], tuple[str, str]]:
    return lambda draw: prompt_of(Chat(messages=make(draw), thinking=thinking))


def _fact(draw: Draw) -> tuple[str, str]:
    fact = draw.rng.choice(world.facts())
    prompt, _ = prompt_of(Chat(messages=ask(world.question_about(draw, fact), fact.sentence)))
    return prompt, fact.value


def _memory(draw: Draw) -> tuple[str, str]:
    told, asked = naming_turns(draw)
    return prompt_of(Chat(messages=told + asked))


def _thought(draw: Draw) -> tuple[str, str]:
    a, b = draw.addends()
    question = draw.wording(ADDITIONS).format(a, b)
    prompt, _ = prompt_of(Chat(messages=ask(question, str(a + b)), thinking=True))
    return prompt, str(a + b)


TASKS: dict[str, tuple[Callable[[Draw], tuple[str, str]], Judge]] = {
    "addition": (_turn(addition_turn), last_number),
    "extraction": (_turn(record_turn), same_json),
    "tool calls": (lambda draw: prompt_of(single_call(draw)[0]), same_calls),
    "calls of unseen tools": (lambda draw: prompt_of(single_call(replace(draw, unseen_tools=True))[0]), same_calls),
    "facts": (_fact, holds),
    "addition with a thought": (_thought, last_number),
    "small number questions": (_turn(small_number_turn), exact),
    "words and lists": (_turn(text_task_turn), exact),
    "names told before": (_memory, exact),
}
# Tasks whose canonical answer is written out in full, for the quick look during training.
SPOKEN = {
    **{
        task: TASKS[task][0]
        for task in (
            *("addition", "extraction", "tool calls", "calls of unseen tools", "words and lists", "names told before"),
        )
    },
    "facts": _turn(world.fact_turn),
    "addition with a thought": _turn(thoughtful_addition_turn, thinking=True),
    "small talk": _turn(exchange_turn),
}


def examination_draw(seed: int, unseen_wordings: bool) -> Draw:
    """A stream of questions; another seed gives other names."""
    return Draw(
        random.Random(f"examination {seed} {unseen_wordings}"), unseen_items=True, unseen_wordings=unseen_wordings
    )


def questions(task: str, count: int, unseen_wordings: bool, seed: int = 7) -> list[Question]:
    """Different questions of one task, each asked once."""
    make, judge = TASKS[task]
    draw, found = examination_draw(seed, unseen_wordings), dict[str, Question]()
    for _ in range(20 * count):
        prompt, right = make(draw)
        found.setdefault(prompt, Question(task=task, prompt=prompt, right=right, judge=judge))
        if len(found) == count:
            break
    return list(found.values())


def unseen_names(asked: list[Question]) -> int:
    """How many different capitalised words stand in the right answers: the names that had to be copied."""
    return len({name for question in asked for name in re.findall(r"[A-Z][a-z]+", question.right)})
