"""How options are chosen between, on numbers worked out by hand."""

from typing import Any

import pytest

from stemma.front.lang.backends.native import own_entries
from stemma.front.lang.choices import (
    ChoicesSamplingMethod,
    greedy_token_selection,
    token_length_normalized,
    unconditional_likelihood_normalized,
)

GIVEN: Any = [[(-1.0, 1, "x"), (-4.0, 2, "y")], [(-2.0, 3, "z")], [(-1.0, 1, "x"), (-2.0, 4, "w"), (-3.3, 5, "v")]]
ALONE: Any = [[(None, 1, "x"), (-6.0, 2, "y")], [(None, 3, "z")], [(None, 1, "x"), (-2.5, 4, "w"), (-3.5, 5, "v")]]
MEANS = [-2.5, -2.0, -2.1]


def decide(method: ChoicesSamplingMethod) -> Any:
    return method(
        choices=["a", "b", "c"],
        normalized_prompt_logprobs=MEANS,
        input_token_logprobs=GIVEN,
        output_token_logprobs=[[], [], []],
        unconditional_token_logprobs=ALONE,
    )


def test_by_length() -> None:
    found = decide(token_length_normalized)
    assert found.decision == "b"
    assert found.meta_info == {
        "normalized_prompt_logprobs": MEANS,
        "input_token_logprobs": GIVEN,
        "output_token_logprobs": [[], [], []],
    }


def test_token_by_token() -> None:
    """a and c lead with -1; then c's -2 beats a's -4."""
    found = decide(greedy_token_selection)
    assert found.decision == "c"
    matrix = found.meta_info["greedy_logprob_matrix"]
    assert matrix == [[-1.0, -4.0, -2.5], [-2.0, -2.0, -2.0], [-1.0, -2.0, pytest.approx(-3.3)]]


def test_by_gain() -> None:
    """The unknown one counts as 0: a gains (-1 + 2) / 2."""
    found = decide(unconditional_likelihood_normalized)
    assert found.decision == "a"
    assert found.meta_info["normalized_unconditional_prompt_logprobs"] == pytest.approx([0.5, -2.0, -0.1])


def test_the_tokens_of_an_option_begin_where_the_text_ends() -> None:
    """With an option of one token behind a text of 5; asked from position 3 on."""
    entries = [(None, 7, " it"), (-0.5, 8, " is"), (-1.5, 9, " so")]
    assert own_entries({"input_token_logprobs": entries, "prompt_tokens": 6}, 5, "and it is") == entries[2:]


def test_a_last_token_that_became_another_is_the_option_s() -> None:
    """`is ` and `so`: the blank of the text went into the token of the option."""
    entries = [(None, 8, " is"), (-1.5, 9, " so")]
    assert own_entries({"input_token_logprobs": entries, "prompt_tokens": 5}, 5, "and it is ") == entries[1:]
    only = [(None, 9, "so")]
    assert own_entries({"input_token_logprobs": only, "prompt_tokens": 1}, 0, "") == only
