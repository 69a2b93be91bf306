"""Sampling parameters of programs: every name, default and translation, once."""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from stemma.front.lang.errors import BackendError

Json = dict[str, object]
Stops = str | list[str] | tuple[str, ...]

_SPACES = (" ", "\n")
_TYPES: dict[object, tuple[str, tuple[str, ...]]] = {  # pattern of a type's values, and what ends one
    int: (r"[-+]?[0-9]+[ \n]*", _SPACES),
    float: (r"[-+]?[0-9]*\.?[0-9]+[ \n]*", _SPACES),
    bool: (r"(True|False)", ()),
    str: (r"\"[\w\d\s]*\"", ()),
}
_SHARED = ("max_new_tokens", "stop", "temperature", "top_p", "frequency_penalty", "presence_penalty")  # by every API
_FORMS = ("regex", "json_schema", "dtype", "return_logprob")
_NAMED: dict[object, object] = {kind.__name__: kind for kind in (int, float, bool, str)}


@dataclass(frozen=True, slots=True)
class Sampling:
    """How one generation is drawn. A node's values go before the run's, these before the defaults here."""

    max_new_tokens: int = 128
    min_new_tokens: int = 0
    n: int = 1
    stop: Stops = ()
    stop_token_ids: list[int] | tuple[int, ...] = ()
    stop_regex: Stops = ()
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = -1
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    ignore_eos: bool = False
    regex: str | None = None
    json_schema: str | Json | None = None
    return_logprob: bool | None = None
    logprob_start_len: int | None = None
    top_logprobs_num: int | None = None
    return_text_in_logprobs: bool | None = None
    dtype: type | str | None = None

    def overridden(self, given: Mapping[str, object]) -> "Sampling":
        """With every value that is not None in place of its own."""
        return replace(self, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]  # names were checked where they came in

    def stopped_by(self, stops: tuple[str, ...]) -> "Sampling":
        return replace(self, stop=(*strings(self.stop), *stops)) if stops else self

    def native(self) -> Json:
        """The `sampling_params` of `/generate`."""
        pattern, ends = self.form()
        schema = self.json_schema
        return {name: getattr(self, name) for name in _INNER} | {
            "stop": [*strings(self.stop), *ends],
            "stop_token_ids": [*self.stop_token_ids],
            "stop_regex": [*strings(self.stop_regex)],
            "regex": pattern,
            "json_schema": schema if schema is None or isinstance(schema, str) else json.dumps(schema),
        }

    def beside(self) -> Json:
        """What stands beside them."""
        return {name: value for name in _BESIDE if (value := getattr(self, name)) is not None}

    def openai(self, length_name: str) -> Json:
        """The fields of an OpenAI request. Patterns are none of its own: Stemma's and SGLang's servers take them."""
        self._check("OpenAI", ("n", *_SHARED, "regex", "dtype", "json_schema"))
        pattern, ends = self.form()
        beside: Json = {"regex": pattern} if pattern else {}
        if self.json_schema is not None:
            beside |= _response_format(self.json_schema)
        return {
            length_name: self.max_new_tokens,
            "stop": [*strings(self.stop), *ends] or None,
            "n": self.n,
            **{name: getattr(self, name) for name in _SHARED[2:]},
        } | ({"extra_body": beside} if beside else {})

    def anthropic(self) -> Json:
        """The fields of a request for messages. Newer models refuse to be drawn otherwise, newer clients do not know
        how: only what was asked for is said, beside the client's own words."""
        self._check("Anthropic", (*_SHARED[:4], "top_k"))
        drawn = {name: getattr(self, name) for name in ("temperature", "top_p", "top_k") if self._differs(name)}
        stops = {"stop_sequences": [*strings(self.stop)]} if self.stop else {}
        return {"max_tokens": self.max_new_tokens, **stops} | ({"extra_body": drawn} if drawn else {})

    def litellm(self) -> Json:
        """The fields of a completion. Not every model takes all: only what was asked for is said."""
        self._check("LiteLLM", ("n", *_SHARED, "json_schema"))
        fields = {name: getattr(self, name) for name in ("n", *_SHARED[3:]) if self._differs(name)}
        fields |= {"max_tokens": self.max_new_tokens, "temperature": self.temperature}
        fields |= {"stop": [*strings(self.stop)]} if self.stop else {}
        return fields | ({} if self.json_schema is None else _response_format(self.json_schema))

    def form(self) -> tuple[str | None, tuple[str, ...]]:
        """The pattern of the answer, and the strings after which it is over."""
        kind = _NAMED.get(self.dtype, self.dtype)
        if kind is not None and kind not in _TYPES:
            raise BackendError(f"dtype {self.dtype!r} is not one of int, float, bool, str")
        return (self.regex, ()) if kind is None else _TYPES[kind]

    def _check(self, api: str, known: tuple[str, ...]) -> None:
        """Raises BackendError for a form that an API cannot be asked for. Finer sampling is left out, and warned of."""
        lacking = [name for name in NAMES if name not in known and self._differs(name)]
        if refused := [name for name in lacking if name in _FORMS]:
            raise BackendError(f"{refused[0]} cannot be asked of {api}; leave it out")
        if lacking:
            warnings.warn(f"{api} has no {', '.join(lacking)}: left out", stacklevel=2)

    def _differs(self, name: str) -> bool:
        return bool(getattr(self, name) != getattr(_DEFAULT, name))


_DEFAULT = Sampling()
NAMES = tuple(each.name for each in fields(Sampling))
_INNER = NAMES[: NAMES.index("return_logprob")]
_BESIDE = NAMES[NAMES.index("return_logprob") : NAMES.index("dtype")]


def strings(given: Stops) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _response_format(schema: str | Json | None) -> Json:
    schema = json.loads(schema) if isinstance(schema, str) else schema
    named = {"name": "answer", "schema": schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def is_cut(meta: Json) -> bool:
    """Whether an answer ended because it was long enough, in the words of any backend."""
    reason: Any = meta.get("finish_reason")
    return bool((reason["type"] if isinstance(reason, dict) else reason) == "length")


def split(arguments: Mapping[str, object]) -> tuple[Sampling, dict[str, object]]:
    """Keyword arguments of a run: its sampling, and what remains for the program."""
    sampling = Sampling().overridden({name: value for name, value in arguments.items() if name in NAMES})
    return sampling, {name: value for name, value in arguments.items() if name not in NAMES}
