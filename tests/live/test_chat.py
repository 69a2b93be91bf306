"""`stemma chat` and the server it starts for itself."""

import subprocess
import sys
from pathlib import Path

import psutil

from tests.checkpoints import tiny_checkpoint


def test_a_chat_that_is_killed_leaves_no_server_behind(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path, "Qwen3ForCausalLM")
    command = [sys.executable, "-m", "stemma", "chat", str(folder), "--max-total-tokens", "1k"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as chat:
        assert chat.stdin is not None and chat.stdout is not None
        chat.stdin.write(b"/unknown\n")
        chat.stdin.flush()
        assert b"no command /unknown" in chat.stdout.readline()  # so the server is ready
        children = psutil.Process(chat.pid).children(recursive=True)
        chat.kill()
        _, alive = psutil.wait_procs(children, timeout=15)
    assert len(children) == 2
    for process in alive:
        process.kill()
    assert not alive
