"""Do engines with the same weights say the same? Greedy texts may part only where two tokens were nearly a tie.

The first engine judges: it tells how far the two likeliest tokens were apart, wherever its text came from.
After two texts have parted, each goes on by itself, so only the first difference says anything.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from stemma.bench.door import Server
from stemma.bench.http import stream
from stemma.bench.timeline import Timeline
from stemma.bench.workload import Prompt, Span, Workload
from stemma.core.base.errors import StemmaError

# Many and short: other weights part at once, and in one of many the choice was clear.
PROBE = Workload(requests=16, input_tokens=Span(24, 48), output_tokens=Span(8, 8))
SEED = 1 << 20
INFINITE = float("inf")
HALF = "\N{REPLACEMENT CHARACTER}"  # how servers show the first bytes of a letter, or hold them back


class Said(Struct, frozen=True, kw_only=True):
    """An answer, and after how many letters of it each margin holds."""

    text: str
    margins: list[tuple[int, float]]  # letters up to and with a piece; the narrowest choice among its tokens


async def probed(server: Server, ids: range, is_judge: bool) -> list[Said]:
    """What a server says to the probes. Raises StemmaError when a judge cannot judge."""
    found = [await say(server, prompt, is_judge) for prompt in PROBE.prompts(SEED, ids)]
    if is_judge and all(lead == INFINITE for each in found for _, lead in each.margins):
        raise StemmaError("the first engine tells no log-probabilities and cannot judge; name another one first")
    return found


def difference(judged: Sequence[Said], said: Sequence[Said], margin: float) -> str | None:
    """The first place where texts part by more than rounding explains; None: there is none."""
    for number, (one, other) in enumerate(zip(judged, said, strict=True)):
        at, lead = parting(one, other.text)
        if lead > margin:
            return f"probe {number} parts at letter {at}, where the judge preferred its token by {lead:.3f}"
    return None


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
    narrowest = INFINITE

    def hear(event: Any) -> None:
        nonlocal narrowest
        before = len(timeline.text)
        server.door.read(event, 0.0, timeline)
        narrowest = min([narrowest, *leads(event)])
        if len(timeline.text) > before:
            margins.append((len(timeline.text), narrowest))
            narrowest = INFINITE

    await stream(server.address, server.door.path, msgspec.json.encode(body), hear)
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
