"""How a program's turns are written for a model: what stands before and after each role."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stemma.core.base.errors import UnknownName

Message = dict[str, object]
Around = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """Text around each role's turn. With `merges_system`, the first user turn has begun with the system's."""

    name: str
    role_prefix_and_suffix: Mapping[str, Around]
    default_system_prompt: str | None = None
    stop_str: tuple[str, ...] = ()
    pattern: str = ""  # of model paths, in lower case, that are written so
    merges_system: bool = False
    image_token: str = "<image>"

    def around(self, role: str, before: Sequence[Message]) -> Around:
        prefix, suffix = self.role_prefix_and_suffix.get(role, ("", ""))
        if self.merges_system:
            opening, _ = self.role_prefix_and_suffix["user"]
            if role == "system" and not before:
                return opening + prefix, suffix
            if role == "user" and len(before) == 1 and before[0]["role"] == "system":
                return "", suffix
        return prefix, suffix


def _turns(prefix: str, suffix: str, roles: Sequence[str] = ("system", "user", "assistant")) -> dict[str, Around]:
    """The same around every role; `{}` is its name."""
    return {role: (prefix.format(role), suffix) for role in roles}


def _three(system: Around, user: Around, assistant: Around) -> dict[str, Around]:
    return {"system": system, "user": user, "assistant": assistant}


_IM = _turns("<|im_start|>{}\n", "<|im_end|>\n")
_LLAMA_3 = _turns("<|start_header_id|>{}<|end_header_id|>\n\n", "<|eot_id|>")
_LLAMA_4 = _turns("<|header_start|>{}<|header_end|>\n\n", "<|eot|>")
_COMMAND = "<|START_OF_TURN_TOKEN|><|{}_TOKEN|>"
_COMMAND_END = "<|END_OF_TURN_TOKEN|>"
_DEEPSEEK_END = "<｜end▁of▁sentence｜>"
_JANUS = _three(("", "\n\n"), ("<|User|>: ", "\n\n"), ("<|Assistant|>:", _DEEPSEEK_END))
_MINICPM_IMAGE = "(<image>./</image>)"
_KIND = "You are a helpful assistant."
_VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)

_ALL = (  # a path is matched from the top
    ChatTemplate("deepseek-v3", _three(("", ""), ("<｜User｜>", ""), ("<｜Assistant｜>", _DEEPSEEK_END)),
                 stop_str=(_DEEPSEEK_END,), pattern=r"deepseek-(v3|r1)(?!.*base)"),
    ChatTemplate("vicuna_v1.1", _three(("", " "), ("USER:", " "), ("ASSISTANT:", "</s>")),
                 _VICUNA, pattern=r"vicuna|llava-v1\.5|llava-next-video-7b"),
    ChatTemplate("llama-2-chat",
                 _three(("<<SYS>>\n", "\n<</SYS>>\n\n"), ("[INST] ", " [/INST]"), ("", " </s><s>")),
                 pattern=r"llama-2.*chat|codellama.*instruct", merges_system=True),
    ChatTemplate("mistral",
                 _three(("[SYSTEM_PROMPT] ", " [/SYSTEM_PROMPT]"), ("[INST] ", " [/INST]"), ("", " </s><s>")),
                 pattern=r"(mistral|mixtral).*instruct|pixtral"),
    ChatTemplate("llama-3-instruct", _LLAMA_3, stop_str=("<|eot_id|>",), pattern=r"llama-3.*instruct"),
    ChatTemplate("llama-4", _LLAMA_4, stop_str=("<|eot|>",), pattern=r"llama-4.*instruct", image_token="<|image|>"),
    ChatTemplate("minicpmv", _IM, None, ("<|im_end|>", "<|endoftext|>"), r"minicpm-?v", image_token=_MINICPM_IMAGE),
    ChatTemplate("minicpmo", _IM, None, ("<|im_end|>", "<|endoftext|>"), r"minicpm-?o", image_token=_MINICPM_IMAGE),
    ChatTemplate("janus-pro", _JANUS, None, (_DEEPSEEK_END,), r"janus-pro", image_token="<image_placeholder>\n"),
    ChatTemplate("janus", _JANUS, None, (_DEEPSEEK_END,), r"janus", image_token="<image_placeholder>\n"),
    ChatTemplate("glm-4v", _turns("<|{}|>\n", ""), None, ("<|user|>", "<|endoftext|>"), r"glm-4(\.\d+)?v",
                 image_token="<|begin_of_image|><|image|><|end_of_image|>"),
    ChatTemplate("gemma-4-it", _three(*((f"<|turn>{role}\n", "<turn|>\n") for role in ("system", "user", "model"))),
                 None, ("<turn|>",), r"gemma-4.*it", image_token="<|image|>"),
    ChatTemplate("qwen2-vl", _IM, _KIND, ("<|im_end|>",), r"qwen.*vl",
                 image_token="<|vision_start|><|image_pad|><|vision_end|>"),
    ChatTemplate("chatml-llava", _IM, _KIND, ("<|im_end|>",), r"llava.*(34b|qwen2)", image_token="<image>\n"),
    ChatTemplate("internvl-2-5", _IM, None, ("<|im_end|>", "<|action_end|>"), r"internvl2_5"),
    ChatTemplate("qwen", _IM, _KIND, ("<|im_end|>",), r"qwen.*(chat|instruct)"),
    ChatTemplate("chatml", _IM, None, ("<|im_end|>",), r"acorn|tinyllama|qwen3|yi-(?!1\.5).*chat"),
    ChatTemplate("yi-1.5",
                 _three(("", ""), ("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"), ("", "<|im_end|>\n")),
                 stop_str=("<|im_end|>",), pattern=r"yi-1\.5.*chat"),
    ChatTemplate("gemma-it", _three(("", ""), ("<start_of_turn>user\n", "<end_of_turn>\n"),
                                    ("<start_of_turn>model\n", "<end_of_turn>\n")), pattern=r"gemma.*it",
                 image_token="<start_of_image>"),
    ChatTemplate("dbrx-instruct", _IM, None, ("<|im_end|>",), r"dbrx.*instruct"),
    ChatTemplate("c4ai-command-r",
                 _three((_COMMAND.format("SYSTEM"), _COMMAND_END), (_COMMAND.format("USER"), _COMMAND_END),
                        (_COMMAND.format("CHATBOT"), _COMMAND_END)), pattern=r"c4ai-command-r"),
    ChatTemplate("granite-3-instruct", _turns("<|start_of_role|>{}<|end_of_role|>", "<|end_of_text|>\n"),
                 stop_str=("<|end_of_text|>",), pattern=r"granite-.*instruct"),
    ChatTemplate("claude", _three(("", ""), ("\n\nHuman: ", ""), ("\n\nAssistant:", "")), pattern=r"claude"),
    ChatTemplate("default", _three(("SYSTEM:", "\n"), ("USER:", "\n"), ("ASSISTANT:", "\n")), pattern=""),
)  # fmt: skip
_BY_NAME = {template.name: template for template in _ALL}


def template_named(name: str) -> ChatTemplate:
    if name not in _BY_NAME:
        raise UnknownName("chat template", name, _BY_NAME)
    return _BY_NAME[name]


def template_of(model_path: str) -> ChatTemplate:
    """The template of a model, by its path; "default" when nothing fits."""
    return next(template for template in _ALL if re.search(template.pattern, model_path.lower()))
