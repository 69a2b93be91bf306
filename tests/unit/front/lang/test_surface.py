"""Every public name of the language, its parameters in their order, and their defaults."""

import inspect
import subprocess
import sys
from typing import Any

import pytest

import stemma as sgl
from stemma.front.lang.asynchronous import AsyncFunction
from stemma.front.lang.ir import ConstantText, Gen, Select
from stemma.front.lang.program import SglFunction
from stemma.front.lang.sampling import Sampling
from stemma.front.lang.settings import GlobalConfig
from stemma.front.lang.state import ProgramState, ProgramStateGroup

NAMES = """
    Anthropic Crusoe Engine LiteLLM OpenAI Runtime RuntimeEndpoint ServerArgs VertexAI __version__ assistant
    assistant_begin assistant_end flush_cache function gen gen_int gen_string get_server_info global_config
    greedy_token_selection image select separate_reasoning set_default_backend system system_begin system_end
    token_length_normalized unconditional_likelihood_normalized user user_begin user_end video
""".split()
SAMPLING = {
    "max_new_tokens": 128, "min_new_tokens": 0, "n": 1, "stop": (), "stop_token_ids": (), "stop_regex": (),
    "temperature": 1.0, "top_p": 1.0, "top_k": -1, "min_p": 0.0, "frequency_penalty": 0.0, "presence_penalty": 0.0,
    "ignore_eos": False, "return_logprob": None, "logprob_start_len": None, "top_logprobs_num": None,
    "return_text_in_logprobs": None, "json_schema": None, "dtype": None, "regex": None,
}  # fmt: skip
GEN = """
    name max_tokens min_tokens n stop stop_token_ids stop_regex temperature top_p top_k min_p frequency_penalty
    presence_penalty ignore_eos return_logprob logprob_start_len top_logprobs_num return_text_in_logprobs dtype choices
    choices_method regex json_schema
""".split()
TYPED = [name for name in GEN if name not in "min_tokens dtype choices choices_method regex json_schema".split()]
NEEDED = inspect.Parameter.empty
UNLIMITED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
PARAMETERS: list[tuple[Any, dict[str, Any]]] = [
    (sgl.function, {"func": None, "num_api_spec_tokens": None}),
    (sgl.gen, dict.fromkeys(GEN)),
    (sgl.select, {"name": None, "choices": None, "temperature": 0.0, "choices_method": sgl.token_length_normalized}),
    (sgl.image, {"expr": NEEDED}),
    (sgl.video, {"path": NEEDED, "num_frames": NEEDED}),
    (sgl.separate_reasoning, {"expr": None, "model_type": None}),
    (sgl.set_default_backend, {"backend": NEEDED}),
    (sgl.flush_cache, {"backend": None}),
    (sgl.get_server_info, {"backend": None}),
    (sgl.RuntimeEndpoint, {"base_url": NEEDED, "api_key": None, "verify": None, "chat_template_name": None}),
    (sgl.Runtime, {"log_level": "error", "launch_timeout": 300.0}),
    (sgl.OpenAI, {"model_name": NEEDED, "is_chat_model": None, "chat_template": None, "is_azure": False}),
    (sgl.Crusoe, {"model_name": NEEDED, "api_key": None, "base_url": None, "chat_template": None}),
    (sgl.Anthropic, {"model_name": NEEDED}),
    (sgl.VertexAI, {"model_name": NEEDED, "safety_settings": None}),
    (SglFunction.run, {"stream": False, "backend": None, "use_thread": True}),
    (SglFunction.run_batch, {"batch_kwargs": NEEDED, "backend": None, "num_threads": "auto", "progress_bar": False,
                             "generator_style": False}),
    (SglFunction.bind, {}),
    (SglFunction.trace, {"backend": None}),
    (SglFunction.cache, {"backend": None}),
    (AsyncFunction.run, {"stream": False, "backend": None}),
    (AsyncFunction.run_batch, {"batch_kwargs": NEEDED, "backend": None, "num_threads": "auto", "progress_bar": False,
                               "generator_style": False}),
    (ProgramState.fork, {"size": 1, "position_ids_offset": None}),
    (ProgramState.copy, {"position_ids_offset": None}),
    (ProgramState.system, {"expr": None}),
    (ProgramState.user, {"expr": None}),
    (ProgramState.assistant, {"expr": None}),
    (ProgramState.var_scope, {"name": NEEDED}),
    (ProgramState.get_var, {"name": NEEDED}),
    (ProgramState.set_var, {"name": NEEDED, "value": NEEDED}),
    (ProgramState.get_meta_info, {"name": NEEDED}),
    (ProgramState.text_iter, {"var_name": None}),
    (ProgramState.text_async_iter, {"var_name": None, "return_meta_data": False}),
    (ProgramStateGroup.join, {"mode": "gather_variable"}),
    (sgl.Runtime.cache_prefix, {"prefix": NEEDED}),
    (sgl.Runtime.get_tokenizer, {}),
    (sgl.Runtime.async_generate, {"prompt": NEEDED, "sampling_params": None, "session_id": None}),
    (sgl.Runtime.generate, {"prompt": NEEDED, "sampling_params": None, "return_logprob": False,
                            "logprob_start_len": None, "top_logprobs_num": None, "lora_path": None,
                            "session_id": None}),
    (sgl.Runtime.encode, {"prompt": NEEDED}),
    (sgl.Runtime.get_server_info, {}),
    (sgl.RuntimeEndpoint.start_profile, {}),
    (sgl.Runtime.stop_profile, {}),
]  # fmt: skip


def test_every_public_name_is_there() -> None:
    assert set(NAMES) <= set(sgl.__all__)
    for name in NAMES:
        if name not in ("Engine", "LiteLLM"):  # one imports torch, the other need not be there
            assert getattr(sgl, name) is not None


@pytest.mark.parametrize(("called", "expected"), PARAMETERS, ids=lambda given: getattr(given, "__qualname__", ""))
def test_parameters_are_those_that_are_known(called: Any, expected: dict[str, Any]) -> None:
    """In this order; what is ours alone comes after, and has a default."""
    found = [each for each in inspect.signature(called).parameters.values() if each.name != "self"]
    named = [each for each in found if each.kind not in UNLIMITED]
    assert [each.name for each in named][: len(expected)] == [*expected]
    assert {each.name: each.default for each in named[: len(expected)]} == expected
    assert all(each.default is not NEEDED for each in named[len(expected) :])


def test_litellm_takes_what_it_takes() -> None:
    pytest.importorskip("litellm", reason="litellm is not installed: pip install 'stemma-llm[litellm]'")
    expected = {"model_name": NEEDED, "chat_template": None, "api_key": None, "organization": None, "base_url": None,
                "timeout": 600, "max_retries": None, "default_headers": None}  # fmt: skip
    test_parameters_are_those_that_are_known(sgl.LiteLLM, expected)


def test_sampling_has_its_defaults_and_every_run_takes_it() -> None:
    defaults = Sampling()
    assert {name: getattr(defaults, name) for name in SAMPLING} == SAMPLING
    config = GlobalConfig()
    assert (config.verbosity, config.default_backend, config.enable_precache_with_tracing) == (0, None, True)
    assert config.skip_special_tokens_in_output and config.spaces_between_special_tokens_in_out
    assert config.enable_parallel_encoding


@pytest.mark.parametrize(("make", "dtype"), [(sgl.gen_int, int), (sgl.gen_string, str)])
def test_typed_generations_take_the_same_in_the_same_order(make: Any, dtype: type) -> None:
    given = {name: f"a {name}" for name in TYPED}
    by_place, by_name = make(*given.values()), make(**given)
    assert isinstance(by_place, Gen) and by_place.options == by_name.options and by_place.name == "a name"
    lengths = {"max_new_tokens": "a max_tokens", "min_new_tokens": None, "dtype": dtype}
    expected = dict.fromkeys(("regex", "json_schema")) | {name: given[name] for name in TYPED[2:]} | lengths
    assert by_place.options == expected
    for name in set(GEN) - set(TYPED):
        with pytest.raises(TypeError):
            make(**{name: None})


def test_choices_of_gen_are_a_select() -> None:
    chosen = sgl.gen("x", choices=["a", "b"])
    assert isinstance(chosen, Select)
    assert (chosen.temperature, chosen.method) == (0.0, sgl.token_length_normalized)
    with pytest.raises(AssertionError):
        sgl.select("x")


@pytest.mark.parametrize("role", ["system", "user", "assistant"])
def test_roles_begin_and_end(role: str) -> None:
    begin, end = getattr(sgl, f"{role}_begin")(), getattr(sgl, f"{role}_end")()
    turn, empty = getattr(sgl, role)("text"), getattr(sgl, role)()
    assert [type(node) for node in turn.nodes] == [type(begin), ConstantText, type(end)]
    assert {begin.role, end.role, turn.nodes[0].role, empty.nodes[0].role, empty.nodes[-1].role} == {role}


def test_who_imports_stemma_imports_no_client() -> None:
    """Not the language either: a backend's client comes with the backend."""
    code = (
        "import sys, stemma as sgl\n"
        "sgl.gen('x'), sgl.function(lambda s: None), sgl.image('x'), sgl.RuntimeEndpoint, sgl.Runtime\n"
        "print(*{'torch', 'openai', 'anthropic', 'litellm', 'av', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == ""
