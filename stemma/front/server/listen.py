"""The port, taken before anything else is started."""

import os
import socket

from stemma.core.base.errors import ConfigError
from stemma.core.config.serve import ServeConfig

BACKLOG = 2048


def listen(serve: ServeConfig) -> socket.socket:
    """Who connects now is served as soon as somebody serves. Raises ConfigError when the port cannot be had."""
    family = socket.AF_INET6 if ":" in serve.host else socket.AF_INET
    try:
        door = socket.create_server((serve.host, serve.port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise ConfigError(
            f"cannot listen on {serve.host}:{serve.port}: {reason}; choose another --port or --host"
        ) from None
    # Whoever connects inherits it. Without it the second half of a short answer waits until the client has
    # acknowledged the first, which on a connection that is kept takes it 40 ms.
    door.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
    return door
