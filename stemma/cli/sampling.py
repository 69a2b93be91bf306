"""The options of `generate` and `chat` that say how an answer is drawn."""

import argparse

import msgspec

from stemma.core.base.errors import ConfigError
from stemma.core.config.field import flag
from stemma.core.config.flags import Parser
from stemma.core.types.sampling import SamplingParams

WISHES = {
    "max_new_tokens": "most tokens of an answer",
    "temperature": "0: always the likeliest token",
    "top_p": "draw from the likeliest tokens that have this probability together",
    "top_k": "draw from so many of the likeliest tokens",
    "min_p": "draw from tokens with this share of the likeliest one's probability",
    "repetition_penalty": "above 1: say again what was said less often",
    "sampling_seed": "where the randomness of each answer begins",
}


def add_sampling(parser: Parser) -> None:
    group = parser.add_argument_group("sampling")
    for name, text in WISHES.items():
        group.add_argument(flag(name), metavar="X", help=f"{text} (the model's own default if left out)")


def sampling_of(found: argparse.Namespace) -> dict[str, object]:
    """What was wished, and nothing else. Raises ConfigError for a value out of range."""
    given = {name: value for name, value in vars(found).items() if name in WISHES}
    try:
        whole = msgspec.convert(given, SamplingParams, strict=False)
    except msgspec.ValidationError as error:
        what, _, name = str(error).partition(" - at `$.")
        name = name.rstrip("`")
        raise ConfigError(f"{flag(name)}: {what}, not {given.get(name)!r}") from None
    return {name: getattr(whole, name) for name in given}
