"""Programs on a server: Stemma's or SGLang's `/generate`."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from typing import Any

from stemma.front.lang.backends.connections import Connections
from stemma.front.lang.backends.native import NativeBackend
from stemma.front.lang.errors import BackendError, Refused
from stemma.front.lang.sampling import Json


class HttpDoor:
    """The native dialect over HTTP. `verify` is False, or the path of the certificates to trust."""

    def __init__(self, base_url: str, api_key: str | None, verify: bool | str | None):
        self.base_url = base_url.rstrip("/")
        self._headers = {"Content-Type": "application/json"}
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self.connections = Connections(self.base_url, verify)

    def generate(self, body: Json) -> Any:
        return self.ask_json("/generate", body)

    def stream(self, body: Json) -> Iterator[Any]:
        with self._open("/generate", {**body, "stream": True}) as response:
            for line in response:
                event = line.strip().removeprefix(b"data: ")
                if event == b"[DONE]":
                    response.read()
                    return
                if event:
                    answer = json.loads(event)
                    if "error" in answer:
                        raise BackendError(str(answer["error"]))
                    yield answer
            raise BackendError(f"{self.base_url} ended a stream before its last event")

    def model_info(self) -> Any:
        return self.ask_json("/get_model_info")

    def server_info(self) -> Any:
        return self.ask_json("/server_info")

    def encode(self, texts: Sequence[str], add_special_tokens: bool) -> Any:
        return self.ask_json("/v1/tokenize", {"prompt": texts, "add_special_tokens": add_special_tokens})["tokens"]

    def decode(self, tokens: Sequence[list[int]], skip_special_tokens: bool) -> Any:
        return self.ask_json("/v1/detokenize", {"tokens": tokens, "skip_special_tokens": skip_special_tokens})["text"]

    def abort(self, rid: str) -> None:
        self.ask("/abort_request", {"rid": rid})

    def flush(self) -> bool:
        try:
            self.ask("/flush_cache", {})
        except Refused:
            return False
        return True

    def ask(self, path: str, body: Json | None = None) -> bytes:
        """POST the body, or GET without one. Raises BackendError unless the answer is 200."""
        with self._open(path, body) as response:
            return response.read()

    def ask_json(self, path: str, body: Json | None = None) -> Any:
        """The same, of an answer in JSON."""
        return json.loads(self.ask(path, body))

    @contextmanager
    def _open(self, path: str, body: Json | None) -> Iterator[HTTPResponse]:
        content = None if body is None else json.dumps(body).encode()
        try:
            with self.connections.answer(path, content, self._headers) as response:
                if response.status != 200:
                    raise Refused(f"{path}: {response.read().decode(errors='replace')}")
                yield response
        except (OSError, HTTPException) as error:
            raise BackendError(f"no answer from {self.base_url}: {error!r}; is the server running?") from error


class RuntimeEndpoint(NativeBackend):
    """A server at an address. Raises BackendError when there is none."""

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        verify: bool | str | None = None,
        chat_template_name: str | None = None,
    ):
        self._http = HttpDoor(base_url, api_key, verify)
        self.base_url = self._http.base_url
        super().__init__(self._http, chat_template_name)

    def shutdown(self) -> None:
        self._http.connections.close()

    def start_profile(self) -> None:
        """Have the server record what it does. Raises BackendError where it cannot: ours cannot yet."""
        self._http.ask("/start_profile")

    def stop_profile(self) -> None:
        self._http.ask("/stop_profile")
