"""Thoughts and answers, told apart by the marks between them."""

from stemma.front.lang.errors import Misuse

_THINK = ("<think>", "</think>")
_MARKS = {
    "deepseek-r1": _THINK,
    "deepseek-v3": _THINK,
    "glm45": _THINK,
    "qwen3": _THINK,
    "qwen3-thinking": _THINK,
    "kimi": ("◁think▷", "◁/think▷"),
}
_BEGUN = ("deepseek-r1", "qwen3-thinking")  # their answers begin inside of a thought


def thinking_and_answer(text: str, model_type: str | None) -> tuple[str, str]:
    """The thoughts of a model of this type, and what it says after them."""
    if model_type is None or model_type.lower() not in _MARKS:
        raise Misuse(f"separate_reasoning: model_type {model_type!r} is not one of {', '.join(_MARKS)}")
    begin, end = _MARKS[model_type.lower()]
    if not text.lstrip().startswith(begin) and model_type.lower() not in _BEGUN:
        return "", text
    thoughts, _, answer = text.partition(end)
    return thoughts.strip().removeprefix(begin).strip(), answer.strip()
