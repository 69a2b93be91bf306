"""SGLang's own dialect: the body of `/generate`, the arguments of `Engine.generate`, and what both answer."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta, Raw

from stemma.core.base.errors import BadRequest
from stemma.core.types.sampling import LogprobSpec, SamplingParams, TokenId
from stemma.core.types.tokens import unpack
from stemma.front.dialect.answer import Form, Json, count_entries, render
from stemma.front.dialect.body import Later
from stemma.front.dialect.bounds import MAX_BATCH, MAX_CHOSEN, Name, Priority, RequestId, Top
from stemma.front.dialect.constraint import promise_of
from stemma.front.dialect.gather import Progress, Runs, Take
from stemma.front.dialect.prompts import Prompt, each, located, request_ids, token_lists
from stemma.front.dialect.sampling import read_sampling
from stemma.front.service.promise import Message
from stemma.front.service.service import Service
from stemma.front.service.work import Work

_NULL = Raw(b"null")
ENTRIES_PER_TOKEN = 4096  # log-probabilities that an event may tell for each token of news
Start = Annotated[int, Meta(ge=-1, le=2**31 - 1)]


class GenerateBody(Later, kw_only=True):
    """The body of `/generate`. A list in place of a value holds one value for each prompt of the batch."""

    text: str | list[str] | None = None
    input_ids: list[TokenId | list[TokenId]] | None = None
    sampling_params: dict[str, object] | list[dict[str, object]] | None = None
    rid: RequestId | list[RequestId] | None = None
    stream: bool | None = False
    return_logprob: bool | list[bool] | None = None
    logprob_start_len: Start | list[Start] | None = None
    top_logprobs_num: Top | list[Top] | None = None
    token_ids_logprob: list[TokenId | list[TokenId]] | None = None
    return_text_in_logprobs: bool | None = False
    return_prompt_token_ids: bool | None = False
    priority: Priority | None = None
    extra_key: Name | list[Name] | None = None
    cache_salt: Name | list[Name] | None = None
    certificate: bool | None = False

    input_embeds: Raw = _NULL
    image_data: Raw = _NULL
    video_data: Raw = _NULL
    audio_data: Raw = _NULL
    session_params: Raw = _NULL
    lora_path: Raw = _NULL
    custom_logit_processor: Raw = _NULL
    return_hidden_states: Raw = _NULL
    return_routed_experts: Raw = _NULL
    return_indexer_topk: Raw = _NULL
    return_sampling_mask: Raw = _NULL
    return_flat_raw_top_logprobs: Raw = _NULL
    return_flat_raw_output_top_logprobs: Raw = _NULL
    return_entropy: Raw = _NULL
    return_bytes: Raw = _NULL
    max_thinking_tokens: Raw = _NULL
    watermark: Raw = _NULL
    positional_embed_overrides: Raw = _NULL
    bootstrap_host: Raw = _NULL
    bootstrap_room: Raw = _NULL


@dataclass(frozen=True, slots=True)
class Item:
    """One prompt of a request, ready to run, and how its answers look. The first of them has number `first`."""

    work: Work
    form: Form
    first: int


class Native:
    """Requests in the native dialect, over one service."""

    def __init__(self, service: Service, runs: Runs, defaults: Mapping[str, object], weight_version: str):
        self._service = service
        self._runs = runs
        self._defaults = defaults
        self._weight_version = weight_version

    async def answers(self, items: Sequence[Item], take: Take = lambda size: None) -> list[Json]:
        """Every answer, whole, in the order of the prompts."""
        answers = await self._runs.answers([item.work for item in items], take)
        return [await self._render(answer, item) for item, of in zip(items, answers, strict=True) for answer in of]

    async def stream(
        self, items: Sequence[Item], is_many: bool, is_incremental: bool, take: Take = lambda size: None
    ) -> AsyncGenerator[Json, None]:
        """Each answer as it grows: all of it so far, or only what is new. With many, each tells its `index`.

        An event tells log-probabilities again that were told before: it waits until there is enough news.
        """
        told: dict[int, int] = {}  # how many tokens of each answer
        held = (lambda size: None) if is_incremental else take
        answers = [[Progress(item.work.id_of(index), held) for index in range(item.work.n)] for item in items]
        async with aclosing(self._runs.chunks([item.work for item in items], is_streaming=True)) as chunks:
            async for number, chunk in chunks:
                item, answer = items[number], answers[number][chunk.index]
                place = item.first + chunk.index
                answer.add(chunk)
                room = (answer.output - told.get(place, 0)) * ENTRIES_PER_TOKEN
                if place in told and chunk.finish is None and room < count_entries(answer, item.form.spec):
                    continue
                told[place] = answer.output
                result = await self._render(answer, item)
                yield result | {"index": place} if is_many else result
                if is_incremental:
                    answer.forget()

    async def _render(self, answer: Progress, item: Item) -> Json:
        certificate = None
        if item.form.certifies and answer.finish is not None:
            certificate = await self._runs.certificate(item.work, answer, Message(answer.whole))
        return render(answer, item.form, certificate)

    def items(self, body: GenerateBody, started: float) -> tuple[list[Item], bool]:
        """Every prompt of the body, and whether the answer is a list."""
        prompts, is_batch, field = read_prompts(body)
        size = len(prompts)
        ids = request_ids(body.rid, size, is_batch)
        samplings = each(body.sampling_params, "sampling_params", size, {})
        salts = each(body.cache_salt, "cache_salt", size, "")
        keys = each(body.extra_key, "extra_key", size, "")
        specs = logprob_specs(body, size)
        items: list[Item] = []
        first = 0
        for at, prompt in enumerate(prompts):
            under = f"sampling_params[{at}]" if isinstance(body.sampling_params, list) else "sampling_params"
            wish = read_sampling(samplings[at], self._defaults, under)
            if first + wish.n > MAX_BATCH:
                raise BadRequest(f"{under}.n: more than {MAX_BATCH} answers to one request", f"{under}.n")
            try:
                work = self._service.work(
                    text=prompt if isinstance(prompt, str) else None,
                    tokens=None if isinstance(prompt, str) else prompt,
                    sampling=wish.sampling,
                    is_length_asked=wish.is_length_asked,
                    id=ids[at],
                    n=wish.n,
                    promise=promise_of(wish.grammar),
                    logprobs=specs[at],
                    priority=body.priority or 0,
                    salt="\n".join(filter(None, (salts[at], keys[at]))),
                )
            except BadRequest as error:
                where = f"{field}[{at}]" if is_batch else field
                places = {name: f"{under}.{name}" for name in SamplingParams.__struct_fields__}
                raise located(error, places | {"prompt": where, "text": where, "input_ids": where}) from None
            items.append(Item(work, self._form(body, work, started), first))
            first += wish.n
        return items, is_batch or first > 1

    def _form(self, body: GenerateBody, work: Work, started: float) -> Form:
        return Form(
            started=started,
            weight_version=self._weight_version,
            spec=work.logprobs,
            text_of=self._service.tokenizer.text_of if body.return_text_in_logprobs else None,
            prompt_ids=list(unpack(work.tokens)) if body.return_prompt_token_ids else None,
            certifies=bool(body.certificate),
        )


def read_prompts(body: GenerateBody) -> tuple[Sequence[Prompt], bool, str]:
    """The prompts, whether they came as a batch, and in which field. Text goes before ids."""
    if body.text is not None:
        prompts: Sequence[Prompt] = [body.text] if isinstance(body.text, str) else body.text
        is_batch, field = not isinstance(body.text, str), "text"
    elif body.input_ids is not None:
        prompts, is_batch, field = *token_lists(body.input_ids, "input_ids"), "input_ids"
    else:
        raise BadRequest("text or input_ids: one of them is needed", "text")
    if not 0 < len(prompts) <= MAX_BATCH:
        raise BadRequest(f"{field}: a batch has 1 to {MAX_BATCH} prompts, not {len(prompts)}", field)
    return prompts, is_batch, field


def logprob_specs(body: GenerateBody, size: int) -> list[LogprobSpec | None]:
    wanted = each(body.return_logprob, "return_logprob", size, False)
    starts = each(body.logprob_start_len, "logprob_start_len", size, -1)
    tops = each(body.top_logprobs_num, "top_logprobs_num", size, 0)
    lists, is_batch = token_lists(body.token_ids_logprob or [], "token_ids_logprob")
    chosen = lists if is_batch else lists * size
    if len(chosen) != size or max(map(len, chosen)) > MAX_CHOSEN:
        raise BadRequest(f"one list of at most {MAX_CHOSEN} ids for each of {size} prompts", "token_ids_logprob")
    return [
        LogprobSpec(start=start, top=top, token_ids=tuple(ids)) if is_wanted else None
        for is_wanted, start, top, ids in zip(wanted, starts, tops, chosen, strict=True)
    ]
