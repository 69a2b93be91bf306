"""Command lines from options: nothing may be askable in Python and not on the command line, or the other way."""

import pytest

from stemma.core.base.errors import ConfigError
from stemma.core.config.ask import OPTIONS, Ask, ask_from
from stemma.core.config.field import Option, Value
from stemma.core.config.flags import Parser, add_options, asked, flags_of, given


def parser() -> Parser:
    made = Parser("stemma test", "stemma test", "Only a test.")
    made.add_argument("model", nargs="?")
    add_options(made)
    return made


def another(option: Option) -> Value:
    """A value of the option that is not its default."""
    match option.kind:
        case "text":
            return "some text"
        case "switch":
            return True
        case "choice":
            return next(choice for choice in option.choices if choice != option.default)
        case "number":
            return 0.75
        case "integer" | "size":
            return int(option.note.low or 0) + 7
    raise AssertionError(option.kind)


def has_another(option: Option) -> bool:
    return option.kind != "choice" or {*option.choices} != {option.default}


@pytest.mark.parametrize("option", [o for o in OPTIONS if has_another(o)], ids=lambda option: option.name)
def test_what_a_flag_says_arrives_in_its_field(option: Option) -> None:
    value = another(option)
    words = flags_of({option.name: value})
    assert words[0] == option.flag == "--" + option.name.replace("_", "-")
    ask = asked(parser().parse(words))
    assert getattr(ask, option.name) == value
    assert ask == ask_from({option.name: value})
    untouched = [o.name for o in OPTIONS if o.name != option.name]
    assert [getattr(ask, name) for name in untouched] == [getattr(Ask(), name) for name in untouched]


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_option_is_in_the_help_with_its_bounds_and_default(option: Option) -> None:
    page = " ".join(parser().format_help().split())
    assert option.flag in page
    assert option.note.help in page
    if option.kind in ("integer", "size", "number"):
        assert option.bounds
        assert option.bounds in page
    if option.default is not None and option.kind != "switch":
        assert f"default {option.default}" in page


def test_nothing_said_is_nothing_asked() -> None:
    assert given(parser().parse([])) == {}
    assert asked(parser().parse([])) == Ask()


@pytest.mark.parametrize("words", [["m"], ["--model", "m"], ["--model-path", "m"], ["--model-path=m"]])
def test_a_model_may_be_named_in_three_ways(words: list[str]) -> None:
    assert asked(parser().parse(words)).model_path == "m"


@pytest.mark.parametrize("words", [["--port", "5", "m"], ["m", "--port", "5"]])
def test_order_does_not_matter(words: list[str]) -> None:
    ask = asked(parser().parse(words))
    assert (ask.port, ask.model_path) == (5, "m")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--port", "70000"], "argument --port: 70000 is out of range; it goes from 1 to 65535"),
        (["--port", "x"], "argument --port: 'x' is not an integer"),
        (["--port"], "argument --port: expected one argument"),
        (["--dtype", "int3"], "argument --dtype: 'int3' is not one of auto, half"),
        (["--por", "5"], "no option --por; did you mean --port"),  # no abbreviations
        (["--tp-size", "2"], "no option --tp-size"),
        (["--enable-lora"], "no option --enable-lora"),
        (["a", "b"], "no place for b"),
        (["a", "--model", "b"], "given twice"),
        (["--kv-cache-memory", "lots"], "'lots' is not a size"),
    ],
)
def test_a_wrong_command_line_is_one_clear_line(words: list[str], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        asked(parser().parse(words))
    assert says in caught.value.message
    assert "\n" not in caught.value.message


def test_groups_can_be_left_out() -> None:
    made = Parser("stemma test", "stemma test", "Only a test.")
    add_options(made, without=("server", "log"))
    with pytest.raises(ConfigError, match="no option --port"):
        made.parse(["--port", "5"])


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        ({"prot": 1}, "no option 'prot'; did you mean port"),
        ({"tp_size": 2}, "no option 'tp_size'"),
        ({"port": 0}, "port: 0 is out of range; it goes from 1 to 65535"),
        ({"port": None}, "port: None is not an integer"),
        ({"model": "a", "model_path": "b"}, "model_path was given twice"),
        ({"page_size": 3}, "page_size: 3 is not one of 1, 2, 4"),
    ],
)
def test_wrong_keyword_arguments_name_the_option(kwargs: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ask_from(kwargs)
    assert says in caught.value.message


def test_sizes_may_be_written_in_python_too() -> None:
    assert ask_from({"kv_cache_memory": "2GiB", "max_total_tokens": "16k"}) == ask_from(
        {"kv_cache_memory": 2 << 30, "max_total_tokens": 16000}
    )
