"""`stemma chat`: talk to a model in the terminal."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing

from stemma.cli.child import serving
from stemma.cli.prompt import lines_of_terminal
from stemma.cli.sampling import add_sampling, sampling_of
from stemma.cli.talk import Talk
from stemma.core.base.errors import ConfigError, StemmaError
from stemma.core.config.env import api_key
from stemma.core.config.flags import Parser, add_options, given

HELP = """\
/reset          forget what was said
/system TEXT    begin anew, with these instructions
/help           this page
/exit           leave; Ctrl-D does it too
Enter sends, Alt-Enter begins a new line, Ctrl-C stops an answer."""


def chat(argv: Sequence[str]) -> None:
    """Talk until the input ends. Without a terminal, each line of standard input is a message."""
    parser = Parser(
        "stemma chat", "stemma chat [MODEL] [options]", "Talk to a model: here, or to a server that runs already."
    )
    parser.add_argument("model", nargs="?", metavar="MODEL", help="folder of the model; acorn if left out")
    parser.add_argument("--url", metavar="URL", help="talk to this server instead; STEMMA_API_KEY is its key")
    parser.add_argument("--system", metavar="TEXT", help="instructions that stand before everything")
    add_sampling(parser)
    add_options(parser, without=("server",))
    found = parser.parse(argv)
    options, url = given(found), getattr(found, "url", None)
    if url and options:
        raise ConfigError(f"{', '.join(options)}: the server at --url has a model and options of its own")
    with ExitStack() as stack:
        url, key = (url, api_key()) if url else stack.enter_context(serving(options))
        talk = Talk(url, key, sampling_of(found), getattr(found, "system", None))
        for line in lines_of_terminal() if sys.stdin.isatty() else map(str.strip, sys.stdin):
            if line.startswith("/"):
                if obey(line, talk):
                    return
            elif line:
                converse(talk, line)


def obey(line: str, talk: Talk) -> bool:
    """Do what a /command says. True: leave."""
    name, _, rest = line.partition(" ")
    match name:
        case "/exit" | "/quit":
            return True
        case "/reset":
            talk.begin(talk.system)
        case "/system":
            talk.begin(rest.strip() or None)
        case "/help":
            print(HELP)
        case _:
            print(f"no command {name}; /help lists them", file=sys.stderr)
    return False


def converse(talk: Talk, text: str) -> None:
    """Say one thing and print the answer as it comes. An error ends the answer, not the chat."""
    try:
        with closing(talk.answer(text)) as pieces:
            show(pieces)
    except KeyboardInterrupt:
        print(" (stopped)")
    except StemmaError as error:
        print(f"stemma: error: {error.message}", file=sys.stderr)
        return
    print(f"[{talk.pace}]", file=sys.stderr)


def show(pieces: Iterator[str]) -> None:
    for piece in pieces:
        print(piece, end="", flush=True)
    print()
