"""Serve the embedded model and ask it one question: `make demo`. `--once` stops after the answer."""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from openai import OpenAI, OpenAIError

HOST = "127.0.0.1"
QUESTION = "What is 17 + 25?"
START_SECONDS = 120


def is_busy(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


def start(port: int) -> "subprocess.Popen[bytes]":
    command = [str(Path(sys.executable).with_name("stemma")), "serve", "--host", HOST, "--port", str(port)]
    print("$ " + " ".join(["stemma", *command[1:]]), flush=True)
    return subprocess.Popen(command, stdin=subprocess.DEVNULL)


def wait_until_ready(server: "subprocess.Popen[bytes]", port: int) -> None:
    began = time.monotonic()
    while time.monotonic() - began < START_SECONDS:
        if server.poll() is not None:
            sys.exit(f"demo: the server ended with code {server.returncode}; its last lines stand above")
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=5):
                print(f"ready after {time.monotonic() - began:.1f} s", flush=True)
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    sys.exit(f"demo: the server was not ready after {START_SECONDS} s")


def ask(port: int) -> str:
    """Stream one answer to the terminal, and return it."""
    client = OpenAI(base_url=f"http://{HOST}:{port}/v1", api_key="unused", max_retries=0, timeout=60)
    model = client.models.list().data[0].id
    print(f"\nyou    {QUESTION}\n{model:<6} ", end="", flush=True)
    stream = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": QUESTION}], temperature=0, max_tokens=128, stream=True
    )
    parts = []
    for chunk in stream:
        part = (chunk.choices[0].delta.content or "") if chunk.choices else ""
        parts.append(part)
        print(part, end="", flush=True)
    print("\n", flush=True)
    return "".join(parts)


def stop(server: "subprocess.Popen[bytes]") -> None:
    if server.poll() is None:
        server.send_signal(signal.SIGTERM)
    try:
        server.wait(timeout=20)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--once", action="store_true", help="stop the server after the answer")
    parser.add_argument("--port", type=int, default=os.environ.get("PORT", "30000"), help="of the server; or $PORT")
    asked = parser.parse_args()
    port: int = asked.port
    if is_busy(port):
        sys.exit(f"demo: port {port} is in use; choose another: PORT={port + 1} make demo")
    server = start(port)
    try:
        wait_until_ready(server, port)
        answer = ask(port)
        if not answer.strip():
            print("demo: the answer was empty")
            return 1
        if not asked.once:
            print(f"The server goes on at http://{HOST}:{port} until Ctrl-C.", flush=True)
            return server.wait()
    except OpenAIError as error:
        print(f"demo: the request failed: {error}")
        return 1
    except KeyboardInterrupt:
        print()
    finally:
        stop(server)
    return 0


if __name__ == "__main__":
    sys.exit(main())
