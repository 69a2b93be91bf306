"""A conversation with a server, over its OpenAI API."""

import http.client
import json
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

from stemma.bench.http import address_of, lost, refused
from stemma.core.base.errors import EngineDead

_OPENAI_NAMES = {"max_new_tokens": "max_tokens", "sampling_seed": "seed"}


@dataclass(slots=True)
class Pace:
    """How fast the last answer came."""

    began: float = field(default_factory=time.monotonic)
    first_seconds: float = 0.0  # until the first piece of text
    seconds: float = 0.0  # until the last
    tokens: int = 0  # as the server counts; of an answer that was stopped: pieces

    def piece(self) -> None:
        self.tokens += 1
        self.seconds = time.monotonic() - self.began
        self.first_seconds = self.first_seconds or self.seconds

    def __str__(self) -> str:
        after_first = self.seconds - self.first_seconds
        rate = f"{(self.tokens - 1) / after_first:.1f} tokens/s, " if self.tokens > 1 and after_first > 0 else ""
        return f"{self.tokens} tokens, {rate}first after {self.first_seconds:.2f} s"


class Talk:
    """Messages so far, and the server that answers. An answer that was stopped counts as far as it was said."""

    def __init__(self, url: str, api_key: str | None, sampling: dict[str, object], system: str | None):
        self._address = address_of(url, api_key)
        self._wishes = {_OPENAI_NAMES.get(name, name): value for name, value in sampling.items()}
        self.pace = Pace()
        self.begin(system)

    def begin(self, system: str | None) -> None:
        """Begin anew, with these instructions."""
        self.system = system
        self.messages: list[dict[str, str]] = [{"role": "system", "content": system}] if system else []

    def answer(self, text: str) -> Generator[str, None, None]:
        """Say something; what comes back, piece by piece. Closing the iterator stops the answer.

        Thoughts are told and not remembered.
        """
        self.messages.append({"role": "user", "content": text})
        said: list[str] = []
        is_thinking = False
        self.pace = Pace()
        try:
            for event in self._events({"messages": self.messages, "stream_options": {"include_usage": True}}):
                self.pace.tokens = (event.get("usage") or {}).get("completion_tokens", self.pace.tokens)
                for choice in event.get("choices") or ():
                    if thought := choice["delta"].get("reasoning_content"):
                        self.pace.piece()
                        is_thinking = True
                        yield thought
                    if piece := choice["delta"].get("content"):
                        self.pace.piece()
                        said.append(piece)
                        yield "\n\n" + piece if is_thinking else piece
                        is_thinking = False
        finally:
            if said:
                self.messages.append({"role": "assistant", "content": "".join(said)})
            else:
                self.messages.pop()

    def _events(self, body: dict[str, object]) -> Iterator[dict[str, Any]]:
        connection = self._connect()
        try:
            asked = {"model": "default", "stream": True, **self._wishes, **body}
            path = f"{self._address.base}/v1/chat/completions"
            connection.request("POST", path, json.dumps(asked), self._address.headers)
            answer = connection.getresponse()
            if answer.status != http.client.OK:
                raise refused(answer.status, answer.read())
            for line in answer:
                if line.startswith(b"data:") and not line.endswith(b"[DONE]\n"):
                    event = json.loads(line[5:])
                    if "error" in event:
                        raise EngineDead(str(event["error"].get("message", event["error"])))
                    yield event
        except (OSError, http.client.HTTPException) as error:
            raise lost(self._address, error) from None
        finally:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._address.is_secure else http.client.HTTPConnection
        return kind(self._address.host, self._address.port)
