"""Which model is written how."""

import pytest

from stemma.core.base.errors import UnknownName
from stemma.front.lang.templates import template_named, template_of
from stemma.front.lang.transcript import Transcript

MODELS = {
    "meta-llama/Llama-2-7b-chat-hf": "llama-2-chat",
    "meta-llama/Meta-Llama-3.1-8B-Instruct": "llama-3-instruct",
    "meta-llama/Llama-4-Scout-17B-16E-Instruct": "llama-4",
    "Qwen/Qwen2.5-7B-Instruct": "qwen",
    "Qwen/Qwen3-0.6B": "chatml",
    "Qwen/Qwen2.5-VL-7B-Instruct": "qwen2-vl",
    "lmms-lab/llava-onevision-qwen2-7b-ov": "chatml-llava",
    "OpenGVLab/InternVL2_5-8B": "internvl-2-5",
    "mistralai/Mixtral-8x7B-Instruct-v0.1": "mistral",
    "google/gemma-2-9b-it": "gemma-it",
    "google/gemma-4-31B-it": "gemma-4-it",
    "openbmb/MiniCPM-V-2_6": "minicpmv",
    "openbmb/MiniCPM-o-2_6": "minicpmo",
    "deepseek-ai/Janus-Pro-7B": "janus-pro",
    "deepseek-ai/Janus-1.3B": "janus",
    "THUDM/GLM-4.1V-9B-Thinking": "glm-4v",
    "deepseek-ai/DeepSeek-V3-0324": "deepseek-v3",
    "01-ai/Yi-1.5-9B-Chat": "yi-1.5",
    "01-ai/Yi-34B-Chat": "chatml",
    "models/acorn": "chatml",
    "lmsys/vicuna-7b-v1.5": "vicuna_v1.1",
    "gpt2": "default",
}

SEEN = {  # `Hi`, an image, and where the answer begins
    "gemma-4-it": "<|turn>system\nBe kind.<turn|>\n<|turn>user\nHi<|image|><turn|>\n<|turn>model\n",
    "glm-4v": "<|system|>\nBe kind.<|user|>\nHi<|begin_of_image|><|image|><|end_of_image|><|assistant|>\n",
    "janus-pro": "Be kind.\n\n<|User|>: Hi<image_placeholder>\n\n\n<|Assistant|>:",
    "minicpmv": "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi(<image>./</image>)<|im_end|>\n"
    "<|im_start|>assistant\n",
}


@pytest.mark.parametrize("path", MODELS)
def test_a_model_is_known_by_its_path(path: str) -> None:
    assert template_of(path).name == MODELS[path]


@pytest.mark.parametrize("name", SEEN)
def test_models_that_see_are_written_as_their_makers_say(name: str) -> None:
    transcript = Transcript(template_named(name))
    for role, text in (("system", "Be kind."), ("user", "Hi" + transcript.template.image_token)):
        transcript.begin(role)
        transcript.text += text
        transcript.end(role)
    transcript.begin("assistant")
    assert transcript.text == SEEN[name]


def test_a_name_that_there_is_not() -> None:
    with pytest.raises(UnknownName, match="chatml"):
        template_named("chatlm")


def test_vicuna_begins_with_its_own_prompt() -> None:
    transcript = Transcript(template_named("vicuna_v1.1"))
    transcript.begin("user")
    transcript.text += "Hi"
    transcript.end("user")
    assert transcript.text.startswith("A chat between") and transcript.text.endswith(" USER:Hi ")
    assert [message["role"] for message in transcript.messages] == ["system", "user"]
