"""Sampling parameters as clients write them, turned into ours: nulls, single stop strings, defaults, `n`."""

from collections.abc import Mapping
from typing import NamedTuple, TypeVar

import msgspec

from stemma.core.base.errors import BadRequest
from stemma.core.types.sampling import SamplingParams
from stemma.front.dialect.body import Misfit, misfit
from stemma.front.dialect.bounds import Samples
from stemma.front.dialect.constraint import FIELDS, read_grammar
from stemma.front.service.promise import Wanted

T = TypeVar("T")

LATER = ("choice", "custom_params", "watermark", "stream_interval")
KNOWN = (*SamplingParams.__struct_fields__, "n", *FIELDS)


class Wish(NamedTuple):
    """What `sampling_params` may say."""

    sampling: SamplingParams
    n: int
    is_length_asked: bool  # or the length is a default
    grammar: Wanted | None


def read_sampling(given: Mapping[str, object], defaults: Mapping[str, object], under: str = "") -> Wish:
    """`under` is where `given` stood in the body.

    A null means the default; for `max_new_tokens` it means: until the context ends.
    """
    grammar = read_grammar(given, under) or read_grammar(defaults)
    wanted = {name: value for name, value in defaults.items() if name not in FIELDS}
    for name, value in given.items():
        if name in LATER and value:
            raise BadRequest(f"{place(under, name)} is not served yet; leave it out", place(under, name))
        if name == "beam_width" and value not in (None, 1):
            raise BadRequest(f"{place(under, name)}: beam search is not served yet", place(under, name))
        if name not in (*KNOWN, *LATER, "beam_width"):
            known = ", ".join(KNOWN)
            raise Misfit(f"{place(under, name)}: unknown field `{name}`, expected one of {known}", place(under, name))
        if name in KNOWN and name not in FIELDS and (value is not None or name == "max_new_tokens"):
            wanted[name] = value
    for name in ("stop", "stop_regex"):
        if isinstance(value := wanted.get(name), str):
            wanted[name] = (value,)
    if isinstance(ids := wanted.get("stop_token_ids"), list):
        wanted["stop_token_ids"] = [id for id in ids if id is not None]
    n = convert({"n": wanted.pop("n", 1)}, Count, under).n
    sampling = convert(wanted, SamplingParams, under)
    if sampling.top_k == 0:
        raise BadRequest(f"{place(under, 'top_k')} is 0; give at least 1, or -1 for all", place(under, "top_k"))
    return Wish(sampling, n, "max_new_tokens" in given, grammar)


class Count(msgspec.Struct):
    n: Samples


def convert(given: Mapping[str, object], kind: type[T], under: str) -> T:
    try:
        return msgspec.convert(given, kind, str_keys=True)
    except msgspec.ValidationError as error:
        raise misfit(error, under) from None


def place(under: str, name: str) -> str:
    return f"{under}.{name}" if under else name
