"""What the native routes answer: text, output_ids and meta_info."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from stemma.core.types.output import Finish, Logprob
from stemma.core.types.sampling import LogprobSpec
from stemma.front.dialect.gather import Progress
from stemma.front.service.promise import Certificate

LOWEST = -3.4028234663852886e38  # what stands for minus infinity, which JSON cannot say

Entry = tuple[float | None, int, str | None]
Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Form:
    """How one request wants its answers."""

    started: float  # time.monotonic() when the request came
    weight_version: str
    spec: LogprobSpec | None = None
    text_of: Callable[[int], str] | None = None  # text of a token, when logprobs tell it
    prompt_ids: Sequence[int] | None = None  # to be told again
    certifies: bool = False


def render(answer: Progress, form: Form, certificate: Certificate | None) -> Json:
    about = meta(answer, form)
    if form.certifies and answer.finish is not None:
        about["certificate"] = msgspec.to_builtins(certificate)
    result: Json = {"text": answer.text, "output_ids": answer.tokens, "meta_info": about}
    if form.prompt_ids is not None:
        result["prompt_token_ids"] = form.prompt_ids
    return result


def meta(answer: Progress, form: Form) -> Json:
    content: Json = {
        "id": answer.id,
        "finish_reason": finish_reason(answer.finish, answer.output),
        "prompt_tokens": answer.usage.prompt,
        "weight_version": form.weight_version,
        "num_retractions": answer.usage.retractions,
        "completion_tokens": answer.output,
        "cached_tokens": answer.usage.cached,
        "reasoning_tokens": 0,
    }
    if form.spec is not None:
        content |= logprobs(answer, form.spec, form.text_of)
    if answer.finish is not None:
        content["e2e_latency"] = time.monotonic() - form.started
        content["response_sent_to_client_ts"] = time.time()
    return content


def finish_reason(finish: Finish | None, output: int) -> Json | None:
    if finish is None:
        return None
    match finish.reason:
        case "stop":
            return {"type": "stop"} if finish.detail is None else {"type": "stop", "matched": finish.detail}
        case "length":
            return {"type": "length", "length": output}
        case "abort" | "error":
            code = None if finish.code == 200 else finish.code
            return {"type": "abort", "message": str(finish.detail or "Aborted"), "status_code": code, "err_type": None}


def count_entries(answer: Progress, spec: LogprobSpec | None) -> int:
    """How many log-probabilities `render` would tell."""
    if spec is None:
        return 0
    return (len(answer.prompt_logprobs) + len(answer.logprobs)) * (1 + spec.top + len(spec.token_ids))


def logprobs(answer: Progress, spec: LogprobSpec, text_of: Callable[[int], str] | None) -> Json:
    """The lists of (logprob, id, text). The first prompt token has none: nothing that was computed stands before it."""

    def entry(token: int, value: float | None) -> Entry:
        return (value if value is None else max(value, LOWEST), token, text_of(token) if text_of else None)

    def lists(kind: str, items: Sequence[Logprob], first: int) -> Json:
        values = [None if at < first else item.logprob for at, item in enumerate(items)]
        known = list(zip(items, values, strict=True))
        told: Json = {f"{kind}_token_logprobs": [entry(item.token, value) for item, value in known]}
        if spec.top:
            told[f"{kind}_top_logprobs"] = [
                None if value is None else [entry(*pair) for pair in item.top] for item, value in known
            ]
        if spec.token_ids:
            told[f"{kind}_token_ids_logprobs"] = [
                None if value is None else [entry(*pair) for pair in zip(spec.token_ids, item.chosen, strict=True)]
                for item, value in known
            ]
        return told

    return {
        **lists("input", answer.prompt_logprobs, 1),
        **lists("output", answer.logprobs, 0),
        "output_token_logprobs_length": answer.output,
    }
