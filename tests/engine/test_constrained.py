"""Answers that must match, by a model of random weights: valid, and the same bytes however they were computed."""

import json
import re
from pathlib import Path

import jsonschema
import msgspec
import pytest

from stemma.core.types.grammar import Grammar
from stemma.core.types.output import Finish
from stemma.core.types.request import Abort, Request
from stemma.core.types.sampling import LogprobSpec, SamplingParams
from stemma.core.types.tokens import pack
from tests.bodies import BODIES, Body
from tests.checkpoints import END_OF_TEXT, TURN_END, tiny_checkpoint
from tests.engine_harness import DrivenEngine, Idle, Outcome, engine_config, request

SCHEMA = {
    "type": "object",
    "properties": {
        "full_name_of_the_person": {"type": "string", "maxLength": 6},
        "is_of_age": {"type": "boolean"},
        "kind_of_occupation": {"enum": ["carpenter", "cartographer"]},
    },
    "required": ["full_name_of_the_person", "is_of_age", "kind_of_occupation"],
    "additionalProperties": False,
}
PERSON = Grammar("json_schema", json.dumps(SCHEMA))
CODE = Grammar("regex", "(ab|cd)+-[0-9]{2,4}-constant suffix of a code")
LIST = Grammar("ebnf", 'root ::= "[" item ("," item)* "]"\nitem ::= "first item" | "second item"')
BEST = BODIES[:2][-1]
SPEC = LogprobSpec(start=-1, top=1, token_ids=(65, 125))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny"), "Qwen3ForCausalLM")


def requests() -> list[Request]:
    """Under several grammars and free, with every wish that changes what is drawn."""
    hot = SamplingParams(max_new_tokens=110, temperature=1.5)
    wishes: list[tuple[Grammar | None, SamplingParams]] = [
        (PERSON, msgspec.structs.replace(hot, temperature=0.0)),
        (PERSON, hot),
        (CODE, msgspec.structs.replace(hot, frequency_penalty=0.7, repetition_penalty=1.3)),
        (None, SamplingParams(max_new_tokens=40, ignore_eos=True)),
        (LIST, msgspec.structs.replace(hot, ignore_eos=True)),
        (CODE, msgspec.structs.replace(hot, min_new_tokens=45)),
        (LIST, msgspec.structs.replace(hot, logit_bias={ord(","): -100.0, ord("f"): 4.0, TURN_END: 50.0})),
        (PERSON, msgspec.structs.replace(hot, top_k=20, top_p=0.9, max_new_tokens=30)),
        (CODE, msgspec.structs.replace(hot, stop_token_ids=(ord("-"),))),
        (PERSON, msgspec.structs.replace(hot, min_p=0.01, presence_penalty=-1.0)),
    ]
    shared = [7 * at % 250 for at in range(40)]
    return [
        request(
            f"r{at}",
            [*shared[: 20 * (at % 3)], at, 2 * at + 1],
            msgspec.structs.replace(sampling, sampling_seed=at),
            LogprobSpec(start=0, top=1) if at == 1 else SPEC,
            grammar,
        )
        for at, (grammar, sampling) in enumerate(wishes)
    ]


def bytes_of(outcomes: dict[str, Outcome]) -> dict[str, tuple[object, ...]]:
    return {id: outcome.bytes for id, outcome in sorted(outcomes.items())}


@pytest.fixture(scope="module")
def alone(folder: Path) -> dict[Body, dict[str, tuple[object, ...]]]:
    """Each by itself, nothing cached and nothing given: every token is drawn."""
    answers: dict[Body, dict[str, tuple[object, ...]]] = {}
    for body in BODIES[:2]:
        engine = DrivenEngine(engine_config(folder, body=body, radix=False, step_tokens=256, jump_forward=False))
        answers[body] = {}
        for asked in requests():
            answers[body] |= bytes_of(engine.run([asked]))
        engine.loop.close()
    return answers


@pytest.mark.parametrize(
    ("body", "depth", "jump_forward", "limits"),
    [
        (BODIES[0], 1, True, {}),
        (BODIES[0], 2, True, {"pages": 20, "conservativeness": 0}),
        (BEST, 1, False, {}),
        (BEST, 2, False, {"pages": 20, "conservativeness": 0}),
        (BEST, 1, True, {}),
        (BEST, 2, True, {}),
        (BEST, 1, True, {"pages": 20, "conservativeness": 0}),
        (BEST, 2, True, {"pages": 20, "conservativeness": 0}),
        (BEST, 2, True, {"step_tokens": 12}),
    ],
    ids=str,
)
def test_the_same_bytes_however_they_are_computed(
    folder: Path, alone: dict[Body, object], body: Body, depth: int, jump_forward: bool, limits: dict[str, int]
) -> None:
    """Together, overlapped, preempted, in chunks, cold and warm; with forced text given, and drawn."""
    config = engine_config(folder, body=body, depth=depth, jump_forward=jump_forward, **limits)  # type: ignore[arg-type]  # limits of a step
    engine = DrivenEngine(config)
    for _ in range(2):
        outcomes = engine.run(requests())
        assert bytes_of(outcomes) == alone[body]
        forced = sum(outcome.usage.forced for outcome in outcomes.values())
        assert forced > 100 if jump_forward else forced == 0
    stats = engine.stats()
    assert stats.most_in_flight == depth and stats.cached_tokens > 0
    assert (stats.retractions > 0) == ("pages" in limits)
    engine.loop.close()


def test_what_is_complete_is_valid_and_says_why_it_ended(folder: Path) -> None:
    engine = DrivenEngine(engine_config(folder, pages=300, body=BEST))
    hot = SamplingParams(max_new_tokens=120, temperature=1.5)
    asked = [
        request(f"{at}", [at], msgspec.structs.replace(hot, sampling_seed=at), grammar=[PERSON, CODE, LIST][at % 3])
        for at in range(60)
    ]
    outcomes = engine.run(asked)
    complete = 0
    for at in range(60):
        outcome = outcomes[str(at)]
        assert outcome.finish is not None and outcome.finish.reason in ("stop", "length")
        if outcome.finish.reason == "length":
            continue
        complete += 1
        text = bytes(token for token in outcome.tokens if token not in (END_OF_TEXT, TURN_END)).decode()
        if at % 3 == 0:
            jsonschema.validate(json.loads(text), SCHEMA)
        elif at % 3 == 1:
            assert re.fullmatch(CODE.source, text)
        else:
            assert re.fullmatch(r"\[(first|second) item(,(first|second) item)*\]", text)
    assert complete > 40
    engine.loop.close()


def test_every_wish_is_kept(folder: Path) -> None:
    """What each of `requests()` asked for beside its grammar can be seen in its answer."""
    engine = DrivenEngine(engine_config(folder, body=BEST))
    outcomes = engine.run(requests())
    tokens = {id: outcome.tokens for id, outcome in outcomes.items()}
    finishes = {id: outcome.finish for id, outcome in outcomes.items()}
    assert len(tokens["r3"]) == 40 and finishes["r3"] == Finish(reason="length"), "free, and no end of a turn ends it"
    assert finishes["r4"] == Finish(reason="stop") and not {END_OF_TEXT, TURN_END} & {*tokens["r4"]}, "ignore_eos"
    assert finishes["r5"] == Finish(reason="stop") and re.fullmatch(CODE.source, bytes(tokens["r5"]).decode())
    assert ord(",") not in tokens["r6"] and tokens["r6"][1] == ord("f"), "logit_bias"
    assert tokens["r8"][-1] == ord("-") and finishes["r8"] == Finish(reason="stop", detail=ord("-")), "stop_token_ids"
    for outcome in outcomes.values():
        assert [logprob.token for logprob in outcome.logprobs][-len(outcome.tokens) :] == outcome.tokens
    engine.loop.close()


def test_an_answer_ends_as_early_as_it_may_and_not_earlier(folder: Path) -> None:
    wishes = SamplingParams(max_new_tokens=80, min_new_tokens=30, logit_bias={TURN_END: 100.0}, sampling_seed=1)
    engine = DrivenEngine(engine_config(folder, body=BEST))
    outcome = engine.run([request("a", [1], wishes, grammar=Grammar("regex", "[ab]*"))])["a"]
    assert len(outcome.tokens) == 31 and outcome.tokens[-1] == TURN_END
    engine.loop.close()


def test_penalties_change_what_is_drawn(folder: Path) -> None:
    """Under a grammar that leaves two letters: each is drawn less the oftener it came."""
    letters = Grammar("regex", "[ab]{60}")
    counts = []
    for penalty in (0.0, 2.0, -2.0):
        sampling = SamplingParams(max_new_tokens=80, temperature=0.0, frequency_penalty=penalty, sampling_seed=1)
        engine = DrivenEngine(engine_config(folder, body=BEST))
        said = engine.run([request("a", [1], sampling, grammar=letters)])["a"].tokens
        counts.append(min(said.count(ord("a")), said.count(ord("b"))))
        engine.loop.close()
    assert counts[1] > max(counts[0], 20) and counts[2] <= counts[0]


def test_a_jump_takes_one_step(folder: Path) -> None:
    """The long keys are computed beside the token that follows them; what is certain has log-probability 0."""
    keys = Grammar("regex", r'\{"full_name_of_the_person": "[a-z]{3}", "kind_of_occupation": "[a-z]{3}"\}')
    steps = []
    for jump_forward in (True, False):
        engine = DrivenEngine(engine_config(folder, jump_forward=jump_forward))
        outcome = engine.run([request("a", [1], logprobs=SPEC, sampling=requests()[1].sampling, grammar=keys)])["a"]
        assert outcome.finish == Finish(reason="stop")
        steps.append(engine.stats().steps)
        assert steps[-1] == outcome.usage.output - outcome.usage.forced
        assert sum(logprob.logprob == 0.0 for logprob in outcome.logprobs) >= outcome.usage.forced
        engine.loop.close()
    assert 3 * steps[0] < steps[1]


@pytest.mark.parametrize("depth", [1, 2])
def test_an_answer_goes_on_where_another_engine_left_it(folder: Path, depth: int) -> None:
    engine = DrivenEngine(engine_config(folder, depth=depth, body=BEST))
    whole = engine.run(requests())
    for asked in requests():
        tokens = whole[asked.id].tokens
        for sent in range(1, len(tokens), 13):
            outcome = engine.run([msgspec.structs.replace(asked, output=pack(tokens[:sent]))])[asked.id]
            assert outcome.tokens == tokens[sent:] and outcome.finish == whole[asked.id].finish
            assert outcome.usage.output == len(tokens)
    engine.loop.close()


def test_a_stop_of_the_front_cuts_what_was_given(folder: Path) -> None:
    engine = DrivenEngine(engine_config(folder))
    engine.channel.to_engine += [requests()[0]]
    while "r0" not in engine.outcomes or len(engine.outcomes["r0"].tokens) < 40:
        engine.turn()
    engine.channel.to_engine += [Abort(id="r0", reason="stop", keep=20, matched="x")]
    engine.turn()
    usage = engine.outcomes["r0"].usage
    assert usage.output == 20 and 10 < usage.forced < 20 and usage.backend == "chain"
    engine.loop.close()


def test_a_bad_grammar_is_refused_and_a_slow_one_holds_up_nobody(folder: Path) -> None:
    config = engine_config(folder)
    assert config.grammar is not None
    engine = DrivenEngine(
        msgspec.structs.replace(config, grammar=msgspec.structs.replace(config.grammar, compile_seconds=0.5))
    )
    nested = "root ::= t0\n" + "".join(f't{at} ::= "a" t{at + 1} "b"\n' for at in range(12000)) + 't12000 ::= "x"'
    free = request("free", [1], SamplingParams(max_new_tokens=9, ignore_eos=True, sampling_seed=0))
    engine.channel.to_engine += [
        request("bad", [1], grammar=Grammar("json_schema", '{"type": "strange"}')),
        request("slow", [1], grammar=Grammar("ebnf", nested)),
        request("gone", [1], grammar=Grammar("ebnf", nested + " ")),
        free,
    ]
    while engine.outcomes.get("free") is None or engine.outcomes["free"].finish is None:
        engine.turn()
    assert engine.outcomes.get("slow") is None, "nobody waited for it"
    engine.channel.to_engine += [Abort(id="gone", reason="left")]
    with pytest.raises(Idle):
        while True:
            engine.turn()
    finishes = {id: outcome.finish for id, outcome in engine.outcomes.items()}
    for id, says in (("bad", "strange"), ("slow", "--grammar-compile-timeout")):
        finish = finishes[id]
        assert finish is not None and finish.code == 400 and says in str(finish.detail)
    assert finishes["gone"] == Finish(reason="abort")
    assert all(not outcome.tokens for id, outcome in engine.outcomes.items() if id != "free")
    engine.loop.close()
