"""A server of a program's own: `stemma serve` as a child process."""

import asyncio
import atexit
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

from stemma.core.config.ask import Ask, ask_from
from stemma.core.config.env import API_KEY
from stemma.core.config.flags import flags_of
from stemma.front.lang.backends.http import HttpDoor, RuntimeEndpoint
from stemma.front.lang.errors import BackendError
from stemma.front.lang.sampling import Json
from stemma.front.text.tokenizer import Tokenizer

LOOK_SECONDS = 0.1  # between two looks whether it is ready
END_SECONDS = 10.0  # it has so long to end by itself
LAST_PORT = 40000
_FIELDS = ("sampling_params", "return_logprob", "logprob_start_len", "top_logprobs_num", "lora_path")


def ServerArgs(**options: object) -> Ask:  # SGLang's name
    """The options of `stemma serve`, checked. Raises ConfigError for one that there is not."""
    return ask_from(options)


class Runtime:
    """A server on this machine, with the options of `stemma serve`; ended by `shutdown`, or with this process.

    Only this process can use it: it demands a key. Raises BackendError when it ends before it is ready,
    or is not ready in time.
    """

    def __init__(self, log_level: str = "error", launch_timeout: float = 300.0, **options: Any):
        ServerArgs(**options)
        port = free_port(options.pop("port", 30000))
        key = options.pop("api_key", None) or secrets.token_hex()
        self.server_args = {**options, "log_level": log_level, "port": port}
        self.url = f"http://127.0.0.1:{port}"
        self.generate_url = f"{self.url}/generate"
        self._child = subprocess.Popen(
            [sys.executable, "-m", "stemma", "serve", *flags_of(self.server_args)],
            env=os.environ | {API_KEY: key},
            stdin=subprocess.DEVNULL,
        )
        self.pid: int | None = self._child.pid
        atexit.register(self.shutdown)
        self._door = HttpDoor(self.url, key, None)
        try:
            self._wait_ready(launch_timeout)
            self.endpoint = RuntimeEndpoint(self.url, key)
        except BaseException:
            self.shutdown()
            raise

    def shutdown(self) -> None:
        """End the server. A second time does nothing."""
        atexit.unregister(self.shutdown)
        self.pid = None
        self._child.terminate()
        try:
            self._child.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def cache_prefix(self, prefix: str) -> None:
        self.endpoint.cache_prefix(prefix)

    def start_profile(self) -> None:
        self.endpoint.start_profile()

    def stop_profile(self) -> None:
        self.endpoint.stop_profile()

    def get_tokenizer(self) -> Tokenizer:
        """The model's, with `encode` and `decode`; without torch, so not the one of transformers."""
        return Tokenizer.from_folder(str(self._door.model_info()["tokenizer_path"]))

    def generate(
        self,
        prompt: str | list[str],
        sampling_params: Json | None = None,
        return_logprob: bool | list[bool] | None = False,
        logprob_start_len: int | list[int] | None = None,
        top_logprobs_num: int | list[int] | None = None,
        lora_path: str | list[str] | None = None,
        session_id: str | None = None,
        **body: Any,
    ) -> str:
        """The answer of `/generate`, as JSON text. `body` has further fields of it."""
        given = {name: value for name, value in locals().items() if name in _FIELDS and value is not None} | body
        return json.dumps(self._door.generate({"text": prompt, **given} | _session(session_id)))

    async def async_generate(
        self, prompt: str, sampling_params: Json | None = None, session_id: str | None = None
    ) -> AsyncIterator[str]:
        """New text, as it comes."""
        answers = self._door.stream({"text": prompt, "sampling_params": sampling_params or {}} | _session(session_id))
        told = 0
        while (answer := await asyncio.to_thread(next, answers, None)) is not None:
            if new := answer["text"][told:]:
                told = len(answer["text"])
                yield new

    add_request = async_generate

    def encode(self, prompt: str | list[str] | list[Json] | list[list[Json]]) -> str:
        """The answer of `/encode`, embeddings, as JSON text. Raises BackendError where the model makes none."""
        return json.dumps(self._door.ask_json("/encode", {"text": prompt}))

    async def get_server_info(self) -> Json:
        return await asyncio.to_thread(self.endpoint.get_server_info)

    def _wait_ready(self, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        while True:
            if self._child.poll() is not None:
                raise BackendError("the server ended before it was ready; the lines above say why")
            try:
                self._door.ask("/health")
                return
            except BackendError:
                if time.monotonic() > deadline:
                    raise BackendError(f"the server was not ready after {timeout_seconds} s") from None
            time.sleep(LOOK_SECONDS)


def _session(id: str | None) -> Json:
    return {} if id is None else {"session_params": {"id": id}}


def free_port(first: int) -> int:
    """The first port from here on that nobody listens on."""
    for port in range(first, LAST_PORT):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise BackendError(f"no free port from {first} to {LAST_PORT}")
