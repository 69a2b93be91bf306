"""What models that answer whole turns are sent, and how answers of OpenAI's kind are read."""

from collections.abc import Iterable, Iterator
from typing import Any

from stemma.front.lang.backends.backend import Answer
from stemma.front.lang.errors import BackendError
from stemma.front.lang.media import VIDEO
from stemma.front.lang.sampling import Json
from stemma.front.lang.templates import Message
from stemma.front.lang.transcript import Transcript


def turns(transcript: Transcript) -> list[Message]:
    """The messages so far; the model's is next. A text without any turn is the user's.

    Raises BackendError where the model would have to go on with a turn that has begun, or to see a video.
    """
    if any(image.startswith(VIDEO) for image in transcript.images):
        raise BackendError("this backend cannot show a video; show some of its frames as images")
    if transcript.role is None and not transcript.messages:
        return [{"role": "user", "content": transcript.parts(transcript.text)}]
    if transcript.role != "assistant" or len(transcript.text) != transcript.turn_start:
        raise BackendError("a chat model answers whole turns: let gen be the first thing in s.assistant(...)")
    return list(transcript.messages)


def whole(answer: Any, n: int) -> Answer:
    """The texts of an answer, or of `n`."""
    texts = [text_of(choice) for choice in answer.choices]
    metas: list[Json] = [{"id": answer.id, "finish_reason": choice.finish_reason} for choice in answer.choices]
    return (texts, metas) if n > 1 else (texts[0], metas[0])


def parts(chunks: Iterable[Any]) -> Iterator[tuple[str, Json]]:
    """Each new text of a stream."""
    for chunk in chunks:
        for choice in chunk.choices:
            yield text_of(choice), {"id": chunk.id, "finish_reason": choice.finish_reason}


def text_of(choice: Any) -> str:
    """Of a whole message, of a part of one, or of a completion."""
    message = getattr(choice, "message", None) or getattr(choice, "delta", None)
    return (choice.text if message is None else message.content) or ""
