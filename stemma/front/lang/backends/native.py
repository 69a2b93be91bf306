"""Programs in the native dialect: what `/generate` of a Stemma or SGLang server, or an Engine, is asked."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from stemma.front.lang.backends.backend import Answer, BaseBackend
from stemma.front.lang.choices import ChoicesDecision, ChoicesSamplingMethod, Entry, mean
from stemma.front.lang.errors import BackendError, Misuse
from stemma.front.lang.sampling import Json, Sampling
from stemma.front.lang.settings import global_config
from stemma.front.lang.templates import ChatTemplate, template_named, template_of
from stemma.front.lang.transcript import Transcript


class Door(Protocol):
    """Where the native dialect is spoken."""

    def generate(self, body: Json) -> Any:
        """JSON: one answer, or a list of them."""

    def stream(self, body: Json) -> Iterator[Any]:
        """JSON: each answer as it grows, all of it so far."""

    def model_path(self) -> str: ...

    def flush(self) -> bool: ...

    def server_info(self) -> Json: ...


class NativeBackend(BaseBackend):
    """Over one door. Prefixes are computed once: forks and options find them in the cache."""

    def __init__(self, door: Door, chat_template_name: str | None = None):
        self._door = door
        self._template = template_named(chat_template_name) if chat_template_name else template_of(door.model_path())

    def get_chat_template(self) -> ChatTemplate:
        return self._template

    def cache_prefix(self, prefix: str) -> None:
        self._compute(prefix, {})

    def commit(self, transcript: Transcript) -> None:
        self._compute(transcript.text, shown(transcript))

    def flush_cache(self) -> bool:
        return self._door.flush()

    def get_server_info(self) -> Json:
        return self._door.server_info()

    def generate(self, transcript: Transcript, sampling: Sampling) -> Answer:
        answer = self._door.generate(_body(transcript, sampling))
        if isinstance(answer, list):
            return [each["text"] for each in answer], [each["meta_info"] for each in answer]
        return answer["text"], answer["meta_info"]

    def generate_stream(self, transcript: Transcript, sampling: Sampling) -> Iterator[tuple[str, Json]]:
        told = 0
        for answer in self._door.stream(_body(transcript, sampling)):
            yield answer["text"][told:], answer["meta_info"]
            told = len(answer["text"])

    def select(
        self, transcript: Transcript, choices: Sequence[str], temperature: float, method: ChoicesSamplingMethod
    ) -> ChoicesDecision:
        """Score all options in one batch behind the text, which was computed once, before them."""
        if temperature > 1e-5:
            raise Misuse(f"select takes the best option; its temperature must be 0, not {temperature}")
        images = shown(transcript)
        prefix_len = self._compute(transcript.text, images) if transcript.text else 0
        texts = [transcript.text + choice for choice in choices]
        answers = self._score({"text": texts, **images}, max(prefix_len - 2, 0))
        metas = [answer["meta_info"] for answer in answers]
        scored = [own_entries(meta, prefix_len, transcript.text) for meta in metas]
        alone = None
        if method.requires_unconditional_logprobs:
            ids = [[entry[1] for entry in entries] for entries in scored]
            alone = [each["meta_info"]["input_token_logprobs"] for each in self._score({"input_ids": ids}, 0)]
        return method(
            choices=choices,
            normalized_prompt_logprobs=[mean(entries) for entries in scored],
            input_token_logprobs=scored,
            output_token_logprobs=[meta["output_token_logprobs"] for meta in metas],
            unconditional_token_logprobs=alone,
        )

    def _compute(self, text: str, images: Json) -> int:
        """Have a text in the cache; its length in tokens."""
        answer = self._door.generate({"text": text, **images, "sampling_params": {"max_new_tokens": 0}})
        return int(answer["meta_info"]["prompt_tokens"])

    def _score(self, prompts: Json, start: int) -> Any:
        return self._door.generate(
            {
                **prompts,
                "sampling_params": {"max_new_tokens": 0, "temperature": 0.0},
                "return_logprob": True,
                "return_text_in_logprobs": True,
                "logprob_start_len": start,
            }
        )


def own_entries(meta: Any, prefix_len: int, text: str) -> list[Entry]:
    """The log-probabilities of an option's own tokens.

    They begin where the text ends; one token earlier when its last token became another together with
    the option, which shows in that the text no longer ends with it.
    """
    entries: list[Entry] = meta["input_token_logprobs"]
    own = meta["prompt_tokens"] - prefix_len
    if own < 0:
        raise BackendError("an option made the text before it shorter; end that text at the border of a word")
    if prefix_len and len(entries) > own and not text.endswith(str(entries[-own - 1][2])):
        own += 1
    return entries[len(entries) - own :]


def _body(transcript: Transcript, sampling: Sampling) -> Json:
    settings = {
        "skip_special_tokens": global_config.skip_special_tokens_in_output,
        "spaces_between_special_tokens": global_config.spaces_between_special_tokens_in_out,
    }
    said = {"sampling_params": sampling.native() | settings, **sampling.beside()}
    return {"text": transcript.text, **shown(transcript), **said}


def shown(transcript: Transcript) -> Json:
    """The field for the program's image. There can be one, as in SGLang."""
    if len(transcript.images) > 1:
        raise Misuse(f"a program on this backend can show one image or video, not {len(transcript.images)}")
    return {"image_data": transcript.images[0]} if transcript.images else {}
