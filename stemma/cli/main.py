"""`stemma COMMAND ...`: finds the command, and turns errors into one line and an exit status."""

import os
import sys
from collections.abc import Callable, Sequence

from stemma.core.base.errors import ConfigError, StemmaError

USAGE = """\
usage: stemma COMMAND [options]

Serve language models that keep what they have computed in a tree of prefixes.

commands:
  serve      an HTTP server with the OpenAI API and the native one
  chat       talk to a model in the terminal
  generate   continue one prompt
  bench      how fast a server is: ours, or any with the OpenAI API
  plan       what a model takes of memory, before anything is loaded
  doctor     what this machine can run, and why not
  version    the version of Stemma

Without a model, the embedded one is used: acorn. `stemma COMMAND --help` tells a command's options.
"""

Command = Callable[[Sequence[str]], int | None]


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 failed, 2 asked wrongly, 130 interrupted."""
    name, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("--help", "-h", "help"):
        print(USAGE, end="")
        return 0
    try:
        return command(name)(rest) or 0
    except StemmaError as error:
        print(f"stemma: error: {error.message}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read us has gone; without this, Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def command(name: str) -> Command:
    """The function of a command. Raises ConfigError for an unknown one."""
    match name:
        case "serve":
            from stemma.cli.serve import serve

            return serve
        case "chat":
            from stemma.cli.chat import chat

            return chat
        case "generate":
            from stemma.cli.generate import generate

            return generate
        case "bench":
            from stemma.cli.bench import bench

            return bench
        case "plan":
            from stemma.cli.plan import plan

            return plan
        case "doctor":
            from stemma.cli.doctor import doctor

            return doctor
        case "version" | "--version":
            return version
    raise ConfigError(f"no command {name!r}; `stemma --help` lists them")


def version(argv: Sequence[str]) -> None:
    """Print the version."""
    from importlib.metadata import version as version_of

    if argv:
        raise ConfigError(f"stemma version has no place for {argv[0]}")
    print(f"stemma {version_of('stemma-llm')}")
