"""`stemma serve`: the HTTP server."""

import signal
import sys
from collections.abc import Sequence

from stemma.core.config.ask import ask_from
from stemma.core.config.env import api_key
from stemma.core.config.flags import Parser, add_options, given
from stemma.core.config.machine import probe
from stemma.core.config.resolve import resolve


def serve(argv: Sequence[str]) -> int:
    """Serve until interrupted; returns the exit status. Raises ConfigError, CheckpointError."""
    parser = Parser(
        "stemma serve", "stemma serve [MODEL] [options]", "Serve a model over HTTP: the OpenAI API and the native one."
    )
    parser.add_argument("model", nargs="?", metavar="MODEL", help="folder of the model; acorn if left out")
    add_options(parser)
    settled = resolve(ask_from({"api_key": api_key(), **given(parser.parse(argv))}), probe())

    from stemma.front.server.listen import listen
    from stemma.front.service.watch import EngineProcess

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the engine is ended on the way out
    with listen(settled.serve) as door, EngineProcess(settled.engine) as process:
        # The engine starts while the rest of the front, which takes longer to import, comes in.
        from stemma.front.server.launch import serve as run

        return run(process, door, settled.engine, settled.serve)
