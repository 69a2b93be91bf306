"""A whole engine, driven turn by turn from a test: real scheduler, real loop, no process and no clock."""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stemma.core.config.engine import (
    CacheConfig,
    DeviceConfig,
    DType,
    EngineConfig,
    GrammarConfig,
    KVType,
    Policy,
    ScheduleConfig,
)
from stemma.core.config.families import read_model_spec
from stemma.core.config.quant import Format
from stemma.core.types.control import Chunks, FromEngine, Stats, ToEngine
from stemma.core.types.grammar import Grammar
from stemma.core.types.output import Finish, Logprob, Usage
from stemma.core.types.request import Request
from stemma.core.types.sampling import LogprobSpec, SamplingParams
from stemma.core.types.tokens import pack
from stemma.engine.build import build_loop
from tests.bodies import BODIES, Body


class Idle(Exception):
    """The engine waits for a message and the script has none."""


class ScriptedChannel:
    """An engine's end of a channel, whose front is a test."""

    def __init__(self) -> None:
        self.to_engine: list[ToEngine] = []
        self.said: list[FromEngine] = []
        self.awaits_wake: Callable[[], bool] = lambda: False
        self.woken = threading.Event()

    def receive(self, timeout_seconds: float | None) -> list[ToEngine]:
        messages, self.to_engine = self.to_engine, []
        if not messages and timeout_seconds != 0:
            if not self.awaits_wake():
                raise Idle
            assert self.woken.wait(60), "nobody woke the engine"
            self.woken.clear()
        return messages

    def wake(self) -> None:
        self.woken.set()

    def send(self, front: int, message: FromEngine) -> bool:
        self.said.append(message)
        return True

    def close(self) -> None:
        """Nothing is held."""


@dataclass
class Outcome:
    """All that was said about one request."""

    tokens: list[int] = field(default_factory=list)
    logprobs: list[Logprob] = field(default_factory=list)
    prompt_logprobs: list[Logprob] = field(default_factory=list)
    finish: Finish | None = None
    usage: Usage = field(default_factory=Usage)

    @property
    def bytes(self) -> tuple[object, ...]:
        """What must be the same in every run."""
        return self.tokens, self.logprobs, self.prompt_logprobs, self.finish


class DrivenEngine:
    """An engine and its scripted front."""

    def __init__(self, config: EngineConfig):
        self.channel = ScriptedChannel()
        self.loop, self.ready = build_loop(config, self.channel)
        self.channel.awaits_wake = lambda: bool(self.loop.scheduler.parking)
        self.outcomes: dict[str, Outcome] = {}

    def turn(self) -> None:
        """One turn of the loop, then every invariant of the scheduler. Raises Idle when there is nothing to do."""
        self.loop.turn()
        self.loop.scheduler.check()
        for message in self.channel.said:
            if isinstance(message, Chunks):
                for chunk in message.every():
                    outcome = self.outcomes.setdefault(chunk.id, Outcome())
                    assert outcome.finish is None, f"{chunk.id} goes on after its finish"
                    outcome.tokens += chunk.tokens
                    outcome.logprobs += chunk.logprobs
                    outcome.prompt_logprobs += chunk.prompt_logprobs
                    outcome.finish = chunk.finish
                    outcome.usage = chunk.usage or outcome.usage
        self.channel.said.clear()

    def run(self, messages: Iterable[ToEngine]) -> dict[str, Outcome]:
        """Send all messages at once and turn until nothing is left to do."""
        self.channel.to_engine += messages
        self.outcomes = {}
        try:
            while True:
                self.turn()
        except Idle:
            return self.outcomes

    def stats(self) -> Stats:
        return self.loop.scheduler.stats()


def engine_config(
    folder: Path,
    *,
    dtype: DType = "float32",
    pages: int = 64,
    page_size: int = 16,
    radix: bool = True,
    max_running: int = 16,
    step_tokens: int = 64,
    policy: Policy = "fcfs",
    conservativeness: float = 1.0,
    depth: int = 1,
    threads: int = 1,
    context: int = 256,
    body: Body = BODIES[0],
    jump_forward: bool = True,
    weights: Format = "plain",
    kv_dtype: KVType | None = None,
) -> EngineConfig:
    return EngineConfig(
        model_path=str(folder),
        model=read_model_spec(folder),
        load_format="auto",
        context=context,
        seed=0,
        cache=CacheConfig(pages=pages, page_size=page_size, radix=radix),
        schedule=ScheduleConfig(
            max_running=max_running,
            max_queued=None,
            step_tokens=step_tokens,
            policy=policy,
            conservativeness=conservativeness,
            depth=depth,
        ),
        grammar=GrammarConfig(tokenizer_path=str(folder), jump_forward=jump_forward),
        device=DeviceConfig(
            dtype=dtype,
            weights=weights,
            kv_dtype=kv_dtype or dtype,
            threads=threads,
            kernels=body.kernels,
            attention=body.attention,
        ),
    )


def request(
    id: str,
    prompt: Sequence[int],
    sampling: SamplingParams | None = None,
    logprobs: LogprobSpec | None = None,
    grammar: Grammar | None = None,
) -> Request:
    sampling = sampling or SamplingParams(max_new_tokens=16, temperature=0.0, ignore_eos=True, sampling_seed=0)
    return Request(id=id, tokens=pack(prompt), sampling=sampling, logprobs=logprobs, grammar=grammar)
