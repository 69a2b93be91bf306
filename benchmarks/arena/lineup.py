"""Who takes part if nobody says otherwise: recipes, and what they are told."""

from collections.abc import Sequence

from msgspec import Struct

from benchmarks.arena.limits import WEIGHT_BYTES
from stemma.core.base.errors import UnknownName


class Contender(Struct, frozen=True, kw_only=True):
    """An engine: a recipe and its environment, or a server that runs already."""

    name: str
    recipe: str = ""
    url: str = ""
    weights: str = "bf16"  # a key of WEIGHT_BYTES
    settings: dict[str, str] = {}
    once: tuple[str, ...] = ()  # workloads that take minutes: not in later rounds
    never: tuple[str, ...] = ()  # workloads that take many minutes
    starts_slowly: bool = False  # stays up, and is stopped while others play

    @property
    def is_exact(self) -> bool:
        """Whether its weights are those of the checkpoint, so that it must say what others say."""
        return WEIGHT_BYTES[self.weights] == WEIGHT_BYTES["bf16"]

    def plays(self, workloads: Sequence[str], round_: int) -> list[str]:
        return [name for name in workloads if name not in self.never and (round_ == 0 or name not in self.once)]


MIXED = ("serve", "prefix")
LINEUP = {
    each.name: each
    for each in (
        Contender(name="stemma", recipe="stemma"),
        Contender(name="stemma-int8", recipe="stemma", weights="int8", settings={"FLAGS": "--quantization int8"}),
        Contender(name="stemma-int4", recipe="stemma", weights="int4", settings={"FLAGS": "--quantization int4"}),
        Contender(name="vllm", recipe="vllm", settings={"KV_GB": "2"}, starts_slowly=True),
        Contender(name="openvino", recipe="openvino", weights="fp16", once=MIXED),
        Contender(
            name="openvino-int8",
            recipe="openvino",
            weights="int8",
            settings={"FORMAT": "int8"},
            once=MIXED,
        ),
        Contender(name="llama.cpp", recipe="llama_cpp", once=MIXED),
        Contender(
            name="llama.cpp-q8_0",
            recipe="llama_cpp",
            weights="q8_0",
            settings={"FORMAT": "q8_0"},
            once=("serve",),
            never=("prefix",),
        ),
        Contender(
            name="llama.cpp-q4_0",
            recipe="llama_cpp",
            weights="q4_0",
            settings={"FORMAT": "q4_0"},
            once=("serve",),
            never=("prefix",),
        ),
        Contender(name="transformers", recipe="transformers", never=("serve", "prefix")),
    )
}


def contender(word: str) -> Contender:
    """`NAME` of the line-up, `NAME=RECIPE`, or `NAME=URL`."""
    name, _, place = word.partition("=")
    if "://" in place:
        return Contender(name=name, url=place)
    if place:
        return Contender(name=name, recipe=place)
    if name not in LINEUP:
        raise UnknownName("engine", name, list(LINEUP))
    return LINEUP[name]
