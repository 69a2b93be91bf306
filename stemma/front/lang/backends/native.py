"""Programs in the native dialect: what `/generate` of a Stemma or SGLang server, or an Engine, is asked."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol
from uuid import uuid4

from stemma.front.lang.backends.backend import Answer, BaseBackend
from stemma.front.lang.choices import ChoicesDecision, ChoicesSamplingMethod, Entry, mean
from stemma.front.lang.errors import BackendError, Misuse
from stemma.front.lang.sampling import Json, Sampling
from stemma.front.lang.settings import global_config
from stemma.front.lang.spelling import Speller, Vocabulary, common
from stemma.front.lang.templates import template_named, template_of
from stemma.front.lang.transcript import Said, Transcript


class Door(Vocabulary, Protocol):
    """Where the native dialect is spoken."""

    def generate(self, body: Json) -> Any:
        """JSON: one answer, or a list of them."""

    def stream(self, body: Json) -> Iterator[Any]:
        """JSON: each answer as it grows, all of it so far."""

    def model_info(self) -> Json: ...

    def abort(self, rid: str) -> None: ...

    def flush(self) -> bool: ...

    def server_info(self) -> Json: ...


class NativeBackend(BaseBackend):
    """Over one door. Prefixes are computed once: forks and options find them in the cache."""

    def __init__(self, door: Door, chat_template_name: str | None = None):
        self._door = door
        self._speller = Speller(door)
        about = door.model_info()
        path = str(about["model_path"])
        self._template = template_named(chat_template_name) if chat_template_name else template_of(path)
        self.commits_forks = "computes_beginnings_once" not in about  # one that does not, and says so, keeps nothing

    def cache_prefix(self, prefix: str) -> None:
        self._compute({"text": prefix})

    def commit(self, transcript: Transcript) -> None:
        self._compute(self._prompt(transcript))

    def abort(self, transcript: Transcript) -> bool:
        if transcript.request is not None:
            self._door.abort(transcript.request)
        return True

    def flush_cache(self) -> bool:
        return self._door.flush()

    def get_server_info(self) -> Json:
        return self._door.server_info()

    def generate(self, transcript: Transcript, sampling: Sampling) -> Answer:
        answer = self._door.generate(self._request(transcript, sampling))
        hear(transcript, len(transcript.text), answer[0] if isinstance(answer, list) else answer)
        if isinstance(answer, list):
            return [each["text"] for each in answer], [each["meta_info"] for each in answer]
        return answer["text"], answer["meta_info"]

    def generate_stream(self, transcript: Transcript, sampling: Sampling) -> Iterator[tuple[str, Json]]:
        begin, told = len(transcript.text), 0
        for answer in self._door.stream(self._request(transcript, sampling)):
            text, told = answer["text"][told:], len(answer["text"])
            if answer["meta_info"].get("finish_reason") is not None:
                hear(transcript, begin, answer)
            yield text, answer["meta_info"]

    def select(
        self, transcript: Transcript, choices: Sequence[str], temperature: float, method: ChoicesSamplingMethod
    ) -> ChoicesDecision:
        """Score all options in one batch behind the text, which is computed once."""
        if temperature > 1e-5:
            raise Misuse(f"select takes the best option; its temperature must be 0, not {temperature}")
        spelled = self._spelled(transcript, ("", *choices))
        if spelled is None:
            length = self._compute(self._prompt(transcript)) if transcript.text else 0
            texts = [transcript.text + choice for choice in choices]
            metas = self._score({"text": texts, **shown(transcript)}, max(length - 2, 0))
            scored = [own_entries(meta, length, transcript.text) for meta in metas]
        else:
            prefix, *options = spelled
            shared = [common(prefix, option) for option in options]
            metas = self._score({"input_ids": options}, max(min(shared) - 1, 0))
            own = [len(option) - same for option, same in zip(options, shared, strict=True)]
            scored = [last_entries(meta, count) for meta, count in zip(metas, own, strict=True)]
        alone = None
        if method.requires_unconditional_logprobs:
            ids = [[entry[1] for entry in entries] for entries in scored]
            alone = [meta["input_token_logprobs"] for meta in self._score({"input_ids": ids}, 0)]
        return method(
            choices=choices,
            normalized_prompt_logprobs=[mean(entries) for entries in scored],
            input_token_logprobs=scored,
            output_token_logprobs=[meta["output_token_logprobs"] for meta in metas],
            unconditional_token_logprobs=alone,
        )

    def _request(self, transcript: Transcript, sampling: Sampling) -> Json:
        """A request, with an id by which it can be aborted; servers want several for several answers."""
        transcript.request = uuid4().hex if sampling.n == 1 else None
        named = {} if transcript.request is None else {"rid": transcript.request}
        settings = {
            "skip_special_tokens": global_config.skip_special_tokens_in_output,
            "spaces_between_special_tokens": global_config.spaces_between_special_tokens_in_out,
        }
        wishes = {"sampling_params": sampling.native() | settings, **sampling.beside()}
        return {**self._prompt(transcript), **named, **wishes}

    def _prompt(self, transcript: Transcript) -> Json:
        """The text, as a field of a request: as tokens once a model has said some of it."""
        spelled = self._spelled(transcript) if transcript.said else None
        return {"text": transcript.text, **shown(transcript)} if spelled is None else {"input_ids": spelled[0]}

    def _spelled(self, transcript: Transcript, endings: Sequence[str] = ("",)) -> list[list[int]] | None:
        """The tokens of the text with each ending. None: there is nothing to be gained, or only text will do."""
        if transcript.images or (not transcript.said and self.commits_forks):
            return None
        return self._speller.spell(transcript, endings)

    def _compute(self, prompt: Json) -> int:
        """Have a text in the cache; its length in tokens."""
        answer = self._door.generate({**prompt, "sampling_params": {"max_new_tokens": 0}})
        return int(answer["meta_info"]["prompt_tokens"])

    def _score(self, prompts: Json, start: int) -> list[Any]:
        """The meta_info of each prompt, with the log-probabilities of its tokens from `start` on."""
        answers = self._door.generate(
            {
                **prompts,
                "sampling_params": {"max_new_tokens": 0, "temperature": 0.0},
                "return_logprob": True,
                "return_text_in_logprobs": True,
                "logprob_start_len": start,
            }
        )
        return [answer["meta_info"] for answer in answers]


def own_entries(meta: Any, prefix_len: int, text: str) -> list[Entry]:
    """The log-probabilities of an option's own tokens.

    They begin where the text ends; one token earlier when its last token became another together with
    the option, which shows in that the text no longer ends with it.
    """
    entries: list[Entry] = meta["input_token_logprobs"]
    own = meta["prompt_tokens"] - prefix_len
    if prefix_len and len(entries) > own >= 0 and not text.endswith(str(entries[-own - 1][2])):
        own += 1
    return last_entries(meta, own)


def last_entries(meta: Any, count: int) -> list[Entry]:
    """The log-probabilities of so many tokens at the end."""
    if count <= 0:
        raise BackendError("an option made the text before it shorter; end that text at the border of a word")
    entries: list[Entry] = meta["input_token_logprobs"]
    return entries[len(entries) - count :]


def shown(transcript: Transcript) -> Json:
    """The field for the program's image. There can be one, as in SGLang."""
    if len(transcript.images) > 1:
        raise Misuse(f"a program on this backend can show one image or video, not {len(transcript.images)}")
    return {"image_data": transcript.images[0]} if transcript.images else {}


def hear(transcript: Transcript, begin: int, answer: Any) -> None:
    """Remember in which tokens a text was said. One that only ends it, such as a turn's end, is no part of it."""
    tokens = answer.get("output_ids") or []
    matched = (answer["meta_info"].get("finish_reason") or {}).get("matched")
    if tokens and tokens[-1] == matched:
        tokens = tokens[:-1]
    if tokens:
        said = Said(begin, begin + len(answer["text"]), tokens, is_cut=isinstance(matched, str))
        transcript.said = (*transcript.said, said)
