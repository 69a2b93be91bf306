"""Thoughts and answers of a variable, told apart."""

from stemma.core.base.errors import UnknownName
from stemma.front.text.formats import THOUGHTS
from stemma.front.text.reasoning import ThoughtParser


def thinking_and_answer(text: str, model_type: str | None) -> tuple[str, str]:
    """The thoughts of a model of this type, and what it says after them."""
    if model_type is None or model_type not in THOUGHTS:
        raise UnknownName("model_type of thoughts", str(model_type), THOUGHTS)
    format = THOUGHTS[model_type]
    parser = ThoughtParser(format, is_open=format.is_forced)
    parts = [*parser.add(text), *parser.finish()]
    thoughts, answer = ("".join(part.text for part in parts if part.kind == kind) for kind in ("reasoning", "content"))
    return thoughts, answer
