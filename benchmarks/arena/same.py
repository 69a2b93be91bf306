"""Do engines with the same weights say the same? Greedy texts may part only where two tokens were nearly a tie.

The first engine judges: it tells how far the two likeliest tokens were apart, wherever its text came from.
After two texts have parted, each goes on by itself, so only the first difference says anything.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from benchmarks.arena.contest import Engine
from stemma.bench.door import Server
from stemma.bench.http import events
from stemma.bench.timeline import Timeline
from stemma.bench.workload import Prompt, Span, Workload
from stemma.core.base.errors import StemmaError

# Many and short: other weights part at once, and in one of many the choice was clear.
PROBE = Workload(requests=16, input_tokens=Span(24, 48), output_tokens=Span(8, 8))
SEED = 1 << 20
HALF = "\N{REPLACEMENT CHARACTER}"  # how servers show the first bytes of a letter, or hold them back


class Said(Struct, frozen=True, kw_only=True):
    """An answer, and after how many letters of it each margin holds."""

    text: str
    margins: list[tuple[int, float]]  # letters up to and with a piece; the narrowest choice among its tokens


async def same_texts(engines: Sequence[Engine], ids: range, margin: float) -> None:
    """Raise StemmaError when an engine differs from the first by more than rounding explains."""
    judge, *others = engines
    for number, prompt in enumerate(PROBE.prompts(SEED, ids)):
        judged = await say(judge.server, prompt, with_margins=True)
        if all(lead == float("inf") for _, lead in judged.margins):
            raise StemmaError(f"{judge.name} tells no log-probabilities and cannot judge; name another engine first")
        for other in others:
            at, lead = parting(judged, (await say(other.server, prompt, with_margins=False)).text)
            if lead > margin:
                raise StemmaError(
                    f"{other.name} and {judge.name} part at letter {at} of probe {number}, where {judge.name} "
                    f"preferred its token by {lead:.3f} > {margin}; if weights differ on purpose: --other-weights"
                )


def parting(judged: Said, text: str) -> tuple[int, float]:
    """Where the texts part, and how clear the judge's choice was there. 0.0: they do not part."""
    one, other = judged.text.rstrip(HALF), text.rstrip(HALF)
    at = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    if at is None:
        return min(len(one), len(other)), 0.0
    return at, next((lead for letters, lead in judged.margins if letters > at), 0.0)


async def say(server: Server, prompt: Prompt, with_margins: bool) -> Said:
    body = msgspec.json.decode(server.door.body(prompt)) | ({"logprobs": 2} if with_margins else {})
    timeline = Timeline(len(prompt.tokens), prompt.output_tokens)
    margins: list[tuple[int, float]] = []
    narrowest = float("inf")
    async for event in events(server.address, server.door.path, msgspec.json.encode(body)):
        before = len(timeline.text)
        server.door.read(event, 0.0, timeline)
        narrowest = min([narrowest, *leads(event)])
        if len(timeline.text) > before:
            margins.append((len(timeline.text), narrowest))
            narrowest = float("inf")
    return Said(text=timeline.text, margins=margins)


def leads(event: Any) -> list[float]:
    """How far the likeliest token lies before the second, for each token of an event."""
    found = []
    for choice in event.get("choices") or ():
        told = choice.get("logprobs") or {}
        for chosen, top in zip(told.get("token_logprobs") or (), told.get("top_logprobs") or (), strict=True):
            # Two tokens that are shown alike, as parts of letters are, come as one: so the chosen is looked at too.
            best = sorted({chosen, *(top or {}).values()}, reverse=True)
            found.append(best[0] - best[1] if len(best) > 1 else 0.0)
    return found
