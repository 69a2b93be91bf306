"""The demo says what is in its way."""

import socket
import sys

import pytest

from tools import demo


def test_a_port_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server((demo.HOST, 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("PORT", str(port))
        monkeypatch.setattr(sys, "argv", ["demo.py", "--once"])
        with pytest.raises(SystemExit, match=f"port {port} is in use; choose another: PORT={port + 1} make demo"):
            demo.main()
