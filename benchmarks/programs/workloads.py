"""Programs of the kinds that people write, on made-up data: what repeats in them, and how often, is what matters."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import stemma as sgl
from benchmarks.programs.texts import CITIES, NAMES, options, paragraph, question, sentence, thing
from stemma.front.lang.program import SglFunction

Arguments = list[dict[str, Any]]
LETTERS = "ABCD"
SCALES = ("clarity", "evidence", "style", "depth")


@dataclass(frozen=True)
class Workload:
    """A program, and the arguments of its runs. `shared`: most of what it reads is read by others, too."""

    program: SglFunction
    arguments: Arguments
    shared: bool = True


def multiple_choice(chance: Random, runs: int) -> Workload:
    """As MMLU is asked: five solved questions, then one; the answer is a letter."""

    def asked(answer: str) -> str:
        listed = "\n".join(f"{letter}.{text}" for letter, text in zip(LETTERS, options(chance), strict=True))
        return f"{paragraph(chance, 4)}\n{question(chance)}\n{listed}\nAnswer:{answer}"

    shots = "".join(asked(f" {chance.choice(LETTERS)}\n\n") for _ in range(5))

    @sgl.function
    def program(s: Any, asked: str) -> None:
        s += shots
        s += asked + sgl.gen("answer", max_tokens=1)

    return Workload(program, [{"asked": asked("")} for _ in range(runs)])


def endings(chance: Random, runs: int) -> Workload:
    """As HellaSwag is asked: the likeliest of four endings, behind twenty examples."""
    shots = "".join(f"{paragraph(chance, 2)} Then{options(chance)[0]}.\n" for _ in range(20))

    @sgl.function
    def program(s: Any, begun: str, choices: list[str]) -> None:
        s += shots
        s += begun + " Then" + sgl.select("ending", choices)

    return Workload(program, [{"begun": paragraph(chance, 2), "choices": options(chance)} for _ in range(runs)])


def react(chance: Random, runs: int) -> Workload:
    """An agent that thinks, looks something up, and reads what was found, three times."""
    steps = "".join(
        f"Thought {step}: {sentence(chance)}\nAction {step}: Search[{thing(chance)}]\n"
        f"Observation {step}: {paragraph(chance, 3)}\n"
        for _ in range(3)
        for step in (1, 2)
    )

    @sgl.function
    def program(s: Any, asked: str, found: Sequence[str]) -> None:
        s += "Solve a question by thoughts, actions and observations.\n" + steps
        s += asked + "\n"
        for step, text in enumerate(found, 1):
            s += f"Thought {step}:" + sgl.gen(f"thought{step}", max_tokens=16, stop="\n")
            s += f"\nAction {step}:" + sgl.gen(f"action{step}", max_tokens=8, stop="\n")
            s += f"\nObservation {step}: {text}\n"
        s += "Answer:" + sgl.gen("answer", max_tokens=8, stop="\n")

    return Workload(
        program, [{"asked": question(chance), "found": [paragraph(chance, 2) for _ in range(3)]} for _ in range(runs)]
    )


def generative_agents(chance: Random, runs: int) -> Workload:
    """Inhabitants of a town, who each decide what to do next: one long setting, a short memory of each."""
    setting = f"You live in a town. {paragraph(chance, 30)}\n"

    @sgl.function
    def program(s: Any, name: str, memory: str, seen: str) -> None:
        s += setting
        s += f"Your name is {name}. You remember: {memory}\n"
        s += f"Now you see: {seen}\nHow much does it matter, from 1 to 9?" + sgl.gen("weight", max_tokens=2)
        s += "\nWhat do you do?" + sgl.gen("deed", max_tokens=12, stop="\n")

    return Workload(
        program,
        [{"name": chance.choice(NAMES), "memory": paragraph(chance, 3), "seen": sentence(chance)} for _ in range(runs)],
    )


def tree_of_thought(chance: Random, runs: int) -> Workload:
    """Three plans, two ways to carry out each, and a judgement of every one; all behind the same examples."""
    shots = "".join(f"{question(chance)}\nPlan: {sentence(chance)}\nAnswer: {sentence(chance)}\n" for _ in range(8))

    @sgl.function
    def program(s: Any, asked: str) -> None:
        s += shots
        s += asked
        plans = s.fork(3)
        for number, plan in enumerate(plans):
            plan += f"\nPlan {number}:" + sgl.gen("plan", max_tokens=16, stop="\n")
            ways = plan.fork(2)
            for way, branch in enumerate(ways):
                branch += f"\nAnswer {way}:" + sgl.gen("answer", max_tokens=16, stop="\n")
                branch += "\nIs that right?" + sgl.select("grade", [" yes", " no"])
            ways.join()
        plans.join()

    return Workload(program, [{"asked": question(chance)} for _ in range(runs)])


def skeleton_of_thought(chance: Random, runs: int) -> Workload:
    """A list of points, then each of them written out, at once."""
    shots = "".join(f"{question(chance)}\nPoints: {sentence(chance)} {sentence(chance)}\n" for _ in range(8))

    @sgl.function
    def program(s: Any, asked: str) -> None:
        s += shots
        s += asked + "\nPoints:" + sgl.gen("points", max_tokens=32, stop="\n")
        parts = s.fork(4)
        parts += lambda index: f"\nPoint {index + 1} in full:" + sgl.gen("part", max_tokens=24, stop="\n")
        parts.join()

    return Workload(program, [{"asked": question(chance)} for _ in range(runs)])


def judge(chance: Random, runs: int) -> Workload:
    """An essay that is judged in four ways, each with a reason and a grade."""

    @sgl.function
    def program(s: Any, essay: str) -> None:
        s += "Judge an essay. Say why, and whether it is good or bad.\n\n"
        s += essay
        ways = s.fork(len(SCALES))
        for way, scale in zip(ways, SCALES, strict=True):
            way += f"\n\nBy its {scale}:" + sgl.gen("reason", max_tokens=12, stop="\n")
            way += "\nGrade:" + sgl.select("grade", [" good", " bad"])
        ways.join()

    return Workload(program, [{"essay": paragraph(chance, 40)} for _ in range(runs)])


def json_fields(chance: Random, runs: int) -> Workload:
    """A record whose keys are said by the program and whose values are said by the model."""
    shots = "".join(
        f'{paragraph(chance, 3)}\n{{"name": "{chance.choice(NAMES)}", "city": "{chance.choice(CITIES)}", '
        f'"age": {chance.randrange(20, 80)}}}\n\n'
        for _ in range(6)
    )

    @sgl.function
    def program(s: Any, text: str) -> None:
        s += shots
        s += text + '\n{"name": "' + sgl.gen("name", max_tokens=8, stop='"')
        s += '", "city": "' + sgl.gen("city", max_tokens=8, stop='"')
        s += '", "age": ' + sgl.gen("age", max_tokens=4, regex="[0-9]{1,2}") + "}"

    return Workload(program, [{"text": paragraph(chance, 3)} for _ in range(runs)])


def chat(chance: Random, runs: int, output: int) -> Workload:
    """Four turns; each run has its own texts, and shares only with itself."""

    @sgl.function
    def program(s: Any, said: Sequence[str]) -> None:
        for number, text in enumerate(said):
            s += f"USER: {text}\nASSISTANT:" + sgl.gen(f"answer{number}", max_tokens=output) + "\n"

    return Workload(program, [{"said": [paragraph(chance, 14) for _ in range(4)]} for _ in range(runs)], shared=False)


def retrieval(chance: Random, runs: int) -> Workload:
    """Answers from documents: three of six, in the order of their numbers, behind one instruction."""
    documents = [f"Document {number}: {paragraph(chance, 14)}\n" for number in range(6)]

    @sgl.function
    def program(s: Any, numbers: Sequence[int], asked: str) -> None:
        s += "Answer from the documents, in few words. If they do not tell, say so.\n\n"
        for number in numbers:
            s += documents[number]
        s += asked + "\nAnswer:" + sgl.gen("answer", max_tokens=8, stop="\n")

    return Workload(
        program,
        [{"numbers": sorted(chance.sample(range(6), 3)), "asked": question(chance)} for _ in range(runs)],
    )


WORKLOADS: dict[str, Callable[[Random], Workload]] = {
    "multiple choice": lambda chance: multiple_choice(chance, 48),
    "endings": lambda chance: endings(chance, 16),
    "ReAct agent": lambda chance: react(chance, 16),
    "generative agents": lambda chance: generative_agents(chance, 32),
    "tree of thought": lambda chance: tree_of_thought(chance, 8),
    "skeleton of thought": lambda chance: skeleton_of_thought(chance, 16),
    "judge": lambda chance: judge(chance, 8),
    "JSON": lambda chance: json_fields(chance, 24),
    "chat, short answers": lambda chance: chat(chance, 12, 8),
    "chat, long answers": lambda chance: chat(chance, 12, 96),
    "retrieval": lambda chance: retrieval(chance, 32),
}
