"""What chat and completions share: sampling in OpenAI's words, usage, tokens as text."""

from collections.abc import Mapping, Sequence

from stemma.core.base.errors import BadRequest
from stemma.core.config.serve import ServeConfig
from stemma.core.types.output import Finish
from stemma.core.types.sampling import LogprobSpec
from stemma.front.dialect.constraint import FIELDS
from stemma.front.dialect.gather import Progress
from stemma.front.dialect.prompts import Prompt, located
from stemma.front.dialect.sampling import Wish, read_sampling
from stemma.front.server.endpoint import Call
from stemma.front.server.openai.schema import Common, OutputDetails, PromptDetails, UsageBlock
from stemma.front.service.promise import Promise
from stemma.front.service.service import Service
from stemma.front.service.work import Work

UNLIKELY = -9999.0  # what OpenAI's servers say for minus infinity
OURS = {"seed": "sampling_seed", "min_tokens": "min_new_tokens"}
THEIRS = {"max_new_tokens": "max_tokens", **{ours: theirs for theirs, ours in OURS.items()}}
SAMPLING = (
    "n", "temperature", "top_p", "top_k", "min_p", "frequency_penalty", "presence_penalty", "repetition_penalty",
    "logit_bias", "seed", "stop", "stop_token_ids", "stop_regex", "min_tokens", "ignore_eos", "skip_special_tokens",
    "no_stop_trim",
)  # fmt: skip


def check_served(body: Common, serve: ServeConfig) -> None:
    """Raise for what would change the answer and is not served yet."""
    body.refuse_later()
    if (body.model or "").startswith(f"{serve.served_model_name}:"):
        raise BadRequest(f"model: adapters are not served yet; ask for {serve.served_model_name!r}", "model")


def sampling_of(body: Common, max_tokens: int | None, fallback: int | None, defaults: Mapping[str, object]) -> Wish:
    """Without `max_tokens`: the server's default, else `fallback`."""
    given = {OURS.get(name, name): getattr(body, name) for name in (*SAMPLING, *FIELDS)}
    if max_tokens is not None:
        given["max_new_tokens"] = max_tokens
    return read_sampling(given, {"max_new_tokens": fallback} | dict(defaults))


def work_of(
    service: Service,
    body: Common,
    prompt: Prompt,
    wish: Wish,
    promise: Promise | None,
    spec: LogprobSpec | None,
    id: str | None,
    where: str,
    shown: tuple[int, ...] = (),
) -> Work:
    """A prompt that stood at `where` in the body, ready to run."""
    try:
        return service.work(
            text=prompt if isinstance(prompt, str) else None,
            tokens=None if isinstance(prompt, str) else prompt,
            sampling=wish.sampling,
            is_length_asked=wish.is_length_asked,
            id=id,
            n=wish.n,
            promise=promise,
            logprobs=spec,
            priority=body.priority or 0,
            salt="\n".join(filter(None, (body.cache_salt, body.extra_key))),
            shown=shown,
        )
    except BadRequest as error:
        raise located(error, {"prompt": where, "text": where, "input_ids": where, **THEIRS}) from None


def usage_of(answers: Sequence[Sequence[Progress]], cache_report: bool) -> UsageBlock:
    """Of all continuations of all prompts; each prompt counts once."""
    prompt = sum(max(answer.usage.prompt for answer in of) for of in answers)
    output = sum(answer.output for of in answers for answer in of)
    thought = sum(answer.thought for of in answers for answer in of)
    cached = PromptDetails(sum(of[0].usage.cached for of in answers))
    return UsageBlock(
        prompt_tokens=prompt,
        completion_tokens=output,
        total_tokens=prompt + output,
        prompt_tokens_details=cached if cache_report else None,
        reasoning_tokens=thought,
        completion_tokens_details=OutputDetails(thought) if thought else None,
    )


def matched_stop(finish: Finish | None) -> int | str | None:
    return finish.detail if finish is not None and finish.reason == "stop" else None


def finite(logprob: float) -> float:
    return max(logprob, UNLIKELY)


def require_json(call: Call) -> None:
    """The routes of OpenAI's protocol take nothing but JSON, and want to be told so."""
    kind = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise BadRequest(f"Unsupported Media Type: {kind or 'none given'}; send Content-Type: application/json")
