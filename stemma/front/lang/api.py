"""What programs are written with: the names of `import stemma as sgl`."""

import inspect
import os
import re
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, NoReturn, overload

from stemma.front.lang.asynchronous import AsyncFunction
from stemma.front.lang.choices import ChoicesSamplingMethod, token_length_normalized
from stemma.front.lang.errors import Misuse
from stemma.front.lang.ir import Expr, ExprList, Gen, Image, RoleBegin, RoleEnd, Select, SeparateReasoning, Video, each
from stemma.front.lang.program import SglFunction, backend_of
from stemma.front.lang.sampling import Json, Stops
from stemma.front.lang.schema import shape_of
from stemma.front.lang.settings import global_config

_TYPED = (  # what gen_int and gen_string take, in their order
    *"n stop stop_token_ids stop_regex temperature top_p top_k min_p frequency_penalty presence_penalty".split(),
    *"ignore_eos return_logprob logprob_start_len top_logprobs_num return_text_in_logprobs".split(),
)


@overload
def function(
    func: Callable[..., Coroutine[Any, Any, Any]], num_api_spec_tokens: int | None = None
) -> AsyncFunction: ...


@overload
def function(func: Callable[..., Any], num_api_spec_tokens: int | None = None) -> SglFunction: ...


@overload
def function(
    func: None = None, num_api_spec_tokens: int | None = None
) -> Callable[[Callable[..., Any]], SglFunction]: ...


def function(func: Callable[..., Any] | None = None, num_api_spec_tokens: int | None = None) -> object:
    """Make a program of a function, whose first parameter is `s`; it may be `async`. With or without brackets."""
    if func is None:
        return partial(function, num_api_spec_tokens=num_api_spec_tokens)
    if inspect.iscoroutinefunction(func):
        if num_api_spec_tokens is not None:
            raise Misuse("num_api_spec_tokens is for programs that are no `async def`")
        return AsyncFunction(func)
    return SglFunction(func, num_api_spec_tokens)


def gen(
    name: str | None = None,
    max_tokens: int | None = None,
    min_tokens: int | None = None,
    n: int | None = None,
    stop: Stops | None = None,
    stop_token_ids: list[int] | None = None,
    stop_regex: Stops | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    min_p: float | None = None,
    frequency_penalty: float | None = None,
    presence_penalty: float | None = None,
    ignore_eos: bool | None = None,
    return_logprob: bool | None = None,
    logprob_start_len: int | None = None,
    top_logprobs_num: int | None = None,
    return_text_in_logprobs: bool | None = None,
    dtype: type | str | None = None,
    choices: Sequence[str] | None = None,
    choices_method: ChoicesSamplingMethod | None = None,
    regex: str | None = None,
    json_schema: str | Json | None = None,
    schema: Any = None,
) -> Gen | Select:
    """Let the model go on; the text becomes a variable. What is None is as the run says. With choices: `select`.

    With `schema`, a type, the variable is a value of it: pydantic models, msgspec.Structs, dataclasses, list[int], ...
    """
    options: dict[str, Any] = dict(locals())
    for other in ("name", "choices", "choices_method", "schema"):
        del options[other]
    shape = None
    if schema is not None:
        if choices or any(options[other] is not None for other in ("dtype", "regex", "json_schema")):
            raise Misuse("schema is the whole form of an answer; leave out choices, dtype, regex and json_schema")
        shape = shape_of(schema)
        options["json_schema"] = shape.schema
    if choices:
        return select(name, choices, temperature or 0.0, choices_method or token_length_normalized)
    if regex is not None:
        re.compile(regex)
    lengths = {"max_new_tokens": options.pop("max_tokens"), "min_new_tokens": options.pop("min_tokens")}
    return Gen(name, lengths | options, shape)


def gen_int(name: str | None = None, max_tokens: int | None = None, *args: Any, **options: Any) -> Gen | Select:
    """`gen` of an integer."""
    return gen(name, max_tokens, dtype=int, **_typed(args, options))


def gen_string(name: str | None = None, max_tokens: int | None = None, *args: Any, **options: Any) -> Gen | Select:
    """`gen` of a string in quotes."""
    return gen(name, max_tokens, dtype=str, **_typed(args, options))


def select(
    name: str | None = None,
    choices: Sequence[str] | None = None,
    temperature: float = 0.0,
    choices_method: ChoicesSamplingMethod = token_length_normalized,
) -> Select:
    """Let the model choose: the best option is said, and becomes a variable."""
    if not choices or not all(choices):
        raise Misuse(f"select needs choices, none of them empty, not {choices!r}")
    return Select(name, list(choices), temperature, choices_method)


def _turn(role: str, expr: Expr | None = None) -> ExprList:
    return RoleBegin(role) + ("" if expr is None else expr) + RoleEnd(role)


# A whole turn of each role; and its two ends, when what stands between is said in several lines.
system, user, assistant = partial(_turn, "system"), partial(_turn, "user"), partial(_turn, "assistant")
system_begin, system_end = partial(RoleBegin, "system"), partial(RoleEnd, "system")
user_begin, user_end = partial(RoleBegin, "user"), partial(RoleEnd, "user")
assistant_begin, assistant_end = partial(RoleBegin, "assistant"), partial(RoleEnd, "assistant")


def image(expr: object) -> Image:
    """Show an image: a path, bytes, or one of PIL. What stands for it in the text is told by the chat template."""
    return Image(expr)


def video(path: str | os.PathLike[str], num_frames: int) -> Video:
    """Show so many frames of a video file, at even distances."""
    return Video(str(path), num_frames)


def separate_reasoning(expr: Expr | None = None, model_type: str | None = None) -> ExprList:
    """Say `expr`, then keep the thoughts of its variable apart, as `<name>_reasoning_content`."""
    nodes = [] if expr is None else list(each(expr))
    names = [node.name for node in nodes if isinstance(node, Gen | Select)]
    return ExprList((*nodes, SeparateReasoning(model_type, names[0] if names else None)))


def set_default_backend(backend: object) -> None:
    """Where programs run that are not told otherwise."""
    global_config.default_backend = backend


def flush_cache(backend: object = None) -> bool:
    """Forget every cached prefix. False without a backend, or when something still runs."""
    return _has(backend) and backend_of(backend).flush_cache()


def get_server_info(backend: object = None) -> Json | None:
    """Every setting of the backend's server; None without a backend."""
    return backend_of(backend).get_server_info() if _has(backend) else None


def VertexAI(model_name: str, safety_settings: object = None) -> NoReturn:
    """Raises Misuse: it is not served."""
    raise Misuse("the VertexAI backend is not served; LiteLLM has a door to it: LiteLLM('vertex_ai/...')")


def _typed(args: Sequence[Any], options: dict[str, Any]) -> dict[str, Any]:
    """Options of `gen_int` and `gen_string`. Raises TypeError for what only `gen` has."""
    if unknown := [name for name in options if name not in _TYPED]:
        raise TypeError(f"{unknown[0]!r} is not for gen_int and gen_string")
    return dict(zip(_TYPED, args, strict=False)) | options


def _has(backend: object) -> bool:
    return backend is not None or global_config.default_backend is not None
