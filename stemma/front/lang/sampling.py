"""Sampling parameters of programs: every name, default and translation, once."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

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
        pattern, ends = (self.regex, ()) if self.dtype is None else form_of(self.dtype)
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

    def openai(self, length_name: str, is_chat: bool) -> Json:
        """The fields of an OpenAI request. Raises BackendError for what that API cannot say."""
        asked = [name for name in ("regex", "dtype", "return_logprob", "json_schema") if getattr(self, name)]
        if asked and (asked[0] != "json_schema" or not is_chat):
            raise BackendError(f"{asked[0]} cannot be asked of the OpenAI backend; leave it out")
        shared = ("n", "temperature", "top_p", "frequency_penalty", "presence_penalty")
        return {
            length_name: self.max_new_tokens,
            "stop": [*strings(self.stop)] or None,
            **{name: getattr(self, name) for name in shared},
        } | (_response_format(self.json_schema) if asked else {})


NAMES = tuple(each.name for each in fields(Sampling))
_INNER = NAMES[: NAMES.index("return_logprob")]
_BESIDE = NAMES[NAMES.index("return_logprob") : NAMES.index("dtype")]


def strings(given: Stops) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _response_format(schema: str | Json | None) -> Json:
    schema = json.loads(schema) if isinstance(schema, str) else schema
    named = {"name": "answer", "schema": schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def form_of(dtype: type | str) -> tuple[str, tuple[str, ...]]:
    """The pattern of a type's values, and the strings after which one is over."""
    kind = _NAMED.get(dtype, dtype)
    if kind not in _TYPES:
        raise BackendError(f"dtype {dtype!r} is not one of int, float, bool, str")
    return _TYPES[kind]


def split(arguments: Mapping[str, object]) -> tuple[Sampling, dict[str, object]]:
    """Keyword arguments of a run: its sampling, and what remains for the program."""
    sampling = Sampling().overridden({name: value for name, value in arguments.items() if name in NAMES})
    return sampling, {name: value for name, value in arguments.items() if name not in NAMES}
