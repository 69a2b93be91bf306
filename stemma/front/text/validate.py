"""Checks schemas by their metaschema and texts by their grammar: `python -m stemma.front.text.validate`.

Questions come as lines of JSON on standard input, opinions go back the same way. A process of its own, since to
check a hostile schema or pattern may take forever: whoever asks kills it then. It ends when its input does.
"""

import json
import os
import resource
import signal
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

import msgspec
import re2
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.validators import Draft202012Validator, extend, validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

from stemma.front.text.opinion import Opinion, Question

MAX_BYTES = 1 << 30  # of address space beyond what this process has when it starts
SHOWN = 300  # characters of a message: values may be long


class Unreadable(Exception):
    """A pattern that RE2 does not know."""


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the end of input ends us
    os.nice(10)
    limit = MAX_BYTES + address_space()
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    write(Opinion("valid", "ready"))
    for line in sys.stdin.buffer:
        write(opinion_of(msgspec.json.decode(line, type=Question)))


def address_space() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def write(opinion: Opinion) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(opinion) + b"\n")
    sys.stdout.buffer.flush()


def opinion_of(question: Question) -> Opinion:
    try:
        if question.text is None:
            return check_schema(json.loads(question.source))
        if question.kind == "json_schema":
            return check_json(json.loads(question.source), question.text)
        if question.kind == "regex":
            return check_regex(question.source, question.text)
    except (RecursionError, MemoryError) as error:
        return Opinion("unchecked", f"the check needs too much: {type(error).__name__}")
    return Opinion("unchecked", f"there is no second reader for {question.kind}")


def check_schema(schema: Any) -> Opinion:
    """By the metaschema of the draft that it names, else of 2020-12."""
    known = validator_for(schema, default=Draft202012Validator)
    return told(best_match(known(known.META_SCHEMA).iter_errors(schema)))


def check_json(schema: Any, text: str) -> Opinion:
    try:
        instance = json.loads(text, parse_constant=refuse_constant)
    except json.JSONDecodeError as error:
        return Opinion("invalid", f"no JSON: {error}")
    except ValueError as error:  # a number of more digits than Python reads
        return Opinion("unchecked", str(error))
    draft = validator_for(schema, default=Draft202012Validator)
    known = extend(draft, {"pattern": check_pattern})  # type: ignore[no-untyped-call]  # its stubs say no more
    try:
        # An empty registry: nothing is fetched from elsewhere.
        return told(best_match(known(schema, registry=Registry()).iter_errors(instance)))
    except (Unresolvable, Unreadable) as error:
        return Opinion("unchecked", str(error)[:SHOWN])


def check_regex(pattern: str, text: str) -> Opinion:
    """The whole text is to match."""
    try:
        is_match = compiled(pattern).fullmatch(text) is not None
    except Unreadable as error:
        return Opinion("unchecked", str(error)[:SHOWN])
    return Opinion("valid") if is_match else Opinion("invalid", "the text does not match the pattern")


def check_pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """The keyword `pattern`, by RE2: its `$` is the end of the text as in ECMA-262, which Python's is not."""
    if validator.is_type(instance, "string") and not compiled(pattern).search(instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def compiled(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error:
        raise Unreadable(f"RE2 cannot read the pattern {pattern}") from None


def told(error: ValidationError | None) -> Opinion:
    if error is None:
        return Opinion("valid")
    return Opinion("invalid", f"{error.json_path}: {error.message}"[:SHOWN])


def refuse_constant(name: str) -> NoReturn:
    raise json.JSONDecodeError(f"{name} is no value of JSON", name, 0)


if __name__ == "__main__":
    main()
