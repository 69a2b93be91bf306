"""The engine's own process: `python -m stemma.engine.process --address ADDRESS`.

Its EngineConfig comes as one line of JSON on standard input, which then stays open: when it closes,
the front that started this process is gone, and so are the readers of everything computed here.
"""

import gc

if __name__ == "__main__":
    gc.disable()  # what is imported stays; to look through it meanwhile, again and again, takes a sixth of a start

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

import msgspec

from stemma.core.base.errors import StemmaError
from stemma.core.base.log import set_up_logging
from stemma.core.base.numbers import format_bytes
from stemma.core.config.engine import EngineConfig
from stemma.core.wire.unix import UnixEngineChannel
from stemma.engine.build import build_loop

REFUSED = 3  # exit status: the model cannot be served; the last line of stderr says why

log = logging.getLogger("engine")


def main() -> int:
    """Build, run, end. Returns the exit status."""
    gc.freeze()
    gc.enable()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True, help="path of the socket to listen at")
    address = parser.parse_args().address
    config = msgspec.json.decode(sys.stdin.buffer.readline(), type=EngineConfig)
    set_up_logging("engine", config.log_level)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the front tells us when to end
    signal.signal(signal.SIGTERM, end)
    threading.Thread(target=end_with_front, args=(address,), daemon=True).start()
    channel = UnixEngineChannel(address)
    try:
        loop, ready = build_loop(config, channel, bar() if sys.stderr.isatty() else None)
    except StemmaError as error:
        sys.stderr.write(f"{error.message}\n")
        return REFUSED
    gc.collect()
    gc.freeze()  # all that is here stays; to look through it again and again would take 40 ms each time
    log.info("ready in %.2f s: %d tokens of cache", ready.startup_seconds, ready.max_total_tokens)
    try:
        loop.run()
    finally:
        loop.close()
        channel.close()


def end(*_: object) -> None:
    """On SIGTERM. Ending happens once: the next one may come from the front while we are at it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(0)


def end_with_front(address: str) -> None:
    """Wait until standard input closes, then end this process. The front's folder goes too: it may have been killed."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    with suppress(OSError):  # the front was quicker
        os.unlink(address)
        os.rmdir(os.path.dirname(address))
    os.kill(os.getpid(), signal.SIGTERM)


def bar() -> Callable[[int, int], None]:
    """A progress bar on one line of the terminal, for models that take a while to load."""

    def show(done: int, whole: int) -> None:
        if whole < 1 << 28:
            return
        filled = 30 * done // whole
        end = "\n" if done >= whole else ""
        line = f"\rloading [{'#' * filled}{'.' * (30 - filled)}] {format_bytes(done)} of {format_bytes(whole)}"
        sys.stderr.write(line + end)
        sys.stderr.flush()

    return show


if __name__ == "__main__":
    sys.exit(main())
