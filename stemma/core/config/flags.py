"""Command lines made from options: `--max-running-requests 8` for the field `max_running_requests`."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from stemma.core.base.errors import ConfigError
from stemma.core.config.ask import OPTIONS, Ask, ask_from, nearest
from stemma.core.config.field import Kind, Option, Value, by_name, flag

_METAVAR: dict[Kind, str] = {"text": "TEXT", "integer": "N", "size": "SIZE", "number": "X"}


class Parser(argparse.ArgumentParser):
    """argparse that raises ConfigError, and takes no abbreviations."""

    def __init__(self, prog: str, usage: str, description: str):
        super().__init__(
            prog=prog,
            usage=usage,
            description=description,
            allow_abbrev=False,
            argument_default=argparse.SUPPRESS,
        )

    def error(self, message: str) -> NoReturn:
        raise ConfigError(message)

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """Like parse_args; an unknown option is told with the nearest that there is."""
        found, unknown = self.parse_known_intermixed_args(argv)
        if unknown:
            name = unknown[0].partition("=")[0]
            hint = nearest(name, self._option_string_actions) or f"; {self.prog} --help lists all"
            kind = "option" if name.startswith("-") else "place for"
            raise ConfigError(f"{self.prog} has no {kind} {name}{hint}")
        return found


def add_options(parser: Parser, without: Sequence[str] = ()) -> None:
    """Every option of `Ask`, in groups; `without` names groups to leave out."""
    groups: dict[str, argparse._ArgumentGroup] = {}
    for option in OPTIONS:
        name = option.note.group
        if name not in without:
            group = groups.get(name) or groups.setdefault(name, parser.add_argument_group(name))
            _add(group, option)


def given(found: argparse.Namespace) -> dict[str, Value]:
    """What a parsed command line says of `Ask`'s options; a positional MODEL counts as `--model`."""
    return {name: value for name, value in vars(found).items() if name in by_name(OPTIONS)}


def asked(found: argparse.Namespace) -> Ask:
    """The Ask of a parsed command line. Raises ConfigError."""
    return ask_from(given(found))


def flags_of(options: Mapping[str, Value]) -> list[str]:
    """The command line that says this."""
    pairs = [(flag(name), value) for name, value in options.items() if value not in (None, False)]
    return [word for name, value in pairs for word in ((name,) if value is True else (name, str(value)))]


def _add(group: argparse._ArgumentGroup, option: Option) -> None:
    flags = [option.flag, *(flag(alias) for alias in option.note.aliases)]
    if option.kind == "switch":
        group.add_argument(*flags, dest=option.name, action="store_true", help=_help(option))
        return
    metavar = "{" + ",".join(map(str, option.choices)) + "}" if option.choices else _METAVAR[option.kind]
    group.add_argument(*flags, dest=option.name, type=_reader(option), metavar=metavar, help=_help(option))


def _reader(option: Option) -> Callable[[str], Value]:
    def read(text: str) -> Value:
        try:
            return option.read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def _help(option: Option) -> str:
    limits = [] if option.choices or not option.bounds else [option.bounds]
    default = [] if option.default is None or option.kind == "switch" else [f"default {option.default}"]
    tail = "; ".join(limits + default)
    return (option.note.help + (f" ({tail})" if tail else "")).replace("%", "%%")
