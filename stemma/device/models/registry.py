"""From an EngineConfig to a model with its weights."""

import logging
from functools import partial
from pathlib import Path
from typing import Protocol, cast

import torch
from torch import nn

from stemma.core.base.registry import Registry
from stemma.core.config.engine import EngineConfig
from stemma.device.attention.backend import AttentionBackend
from stemma.device.layers.build import Build
from stemma.device.layers.rope import Rotary
from stemma.device.models.model import Model
from stemma.device.ops.table import ops_of
from stemma.device.weights.load import Progress, fill_random, load_safetensors
from stemma.device.weights.packed import load_once
from stemma.device.weights.places import Names, held, places

_log = logging.getLogger(__name__)


class ModelMaker(Protocol):
    """The class of a family: builds a Model whose parameters wait for their numbers."""

    names: Names  # our words for its parts -> the checkpoint's

    def __call__(self, build: Build) -> nn.Module: ...


_LLAMA = "stemma.device.models.llama:Llama"
MODELS: Registry[ModelMaker] = Registry(
    "architecture",
    {
        "LlamaForCausalLM": _LLAMA,
        "MistralForCausalLM": _LLAMA,
        "Qwen2ForCausalLM": _LLAMA,
        "Qwen3ForCausalLM": _LLAMA,
    },
)


def load_model(config: EngineConfig, attention: AttentionBackend, progress: Progress | None = None) -> Model:
    """Build the model that `config` describes and fill it. `progress` hears (bytes done, bytes in all)."""
    if config.device.is_plain:
        _log.warning("plain torch computes, many times slower than kernels; `stemma doctor` tells why")
    spec, device = config.model, config.device
    ops = ops_of(device.kernels, device.weights, device.deterministic)
    maker = MODELS[spec.architecture]
    build = Build(spec, ops, attention, Rotary(spec, config.context), getattr(torch, device.dtype), device.weights)
    model = maker(build)
    waiting = places(model, maker.names, ops.lay)
    if config.load_format == "dummy":
        fill_random(waiting, config.seed)
    else:
        ignored = frozenset({"lm_head.weight"} if spec.tied else ())
        load = partial(load_safetensors, waiting, Path(config.model_path), ignored, progress or _silent)
        load_once(config, [part for module in model.modules() for _, part in held(module)], load)
    return cast(Model, model)


def _silent(done: int, total: int) -> None:
    """Nobody watches."""
