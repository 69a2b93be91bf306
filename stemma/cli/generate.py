"""`stemma generate`: continue one prompt."""

import sys
from collections.abc import Sequence

from stemma.cli.sampling import add_sampling, sampling_of
from stemma.core.config.flags import Parser, add_options, given


def generate(argv: Sequence[str]) -> None:
    """Print the continuation as it comes. Raises StemmaError."""
    parser = Parser(
        "stemma generate", "stemma generate PROMPT [options]", "Continue one prompt, as it is: without a chat template."
    )
    parser.add_argument("prompt", metavar="PROMPT", help="text to continue; -: what standard input holds")
    add_sampling(parser)
    add_options(parser, without=("server",))
    found = parser.parse(argv)
    options, sampling = given(found), sampling_of(found)
    prompt = sys.stdin.read() if found.prompt == "-" else found.prompt

    from stemma.offline import Engine

    with Engine(**options) as engine:
        said = 0
        for chunk in engine.generate(prompt, sampling, stream=True):
            print(chunk["text"][said:], end="", flush=True)
            said = len(chunk["text"])
    print()
