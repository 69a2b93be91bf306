"""The two passes of a step: tokens to hidden states, some of these to logits.

Shapes: T tokens of the step, S places whose logits are wanted, D model width, V vocabulary.
"""

import logging
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from stemma.core.config.engine import EngineConfig
from stemma.core.config.ledger import HEAD_ROWS
from stemma.core.types.step import pack_spans
from stemma.device.attention.backend import AttentionBackend, Spans
from stemma.device.layers.batch import ForwardBatch
from stemma.device.models.model import Model
from stemma.device.ops.cpu.library import load
from stemma.device.ops.cpu.record import CannotRecord, record

_log = logging.getLogger(__name__)


class Passes(Protocol):
    """What is kept of `forward` for `logits` is overwritten by the next `forward`; an answer by the next one."""

    def forward(self, batch: ForwardBatch) -> None: ...

    def logits(self, places_S: Tensor) -> Tensor:
        """Scores [S, V] in float32 of these tokens of the last forward pass, at most HEAD_ROWS."""
        ...


class PlainPasses:
    """Calls the model's code in every step."""

    def __init__(self, model: Model):
        self._model = model
        self._hidden_TD = torch.empty(0)

    def forward(self, batch: ForwardBatch) -> None:
        self._hidden_TD = self._model.forward(batch)

    def logits(self, places_S: Tensor) -> Tensor:
        return self._model.logits(self._hidden_TD, places_S)


class RecordedPasses:
    """Called the model's code once, and replays the native calls that it made."""

    def __init__(self, model: Model, attention: AttentionBackend, config: EngineConfig):
        library, most = load(config.device.kernels), config.schedule.step_tokens
        zeros_T = torch.zeros(most, dtype=torch.int64)
        batch = ForwardBatch(
            tokens_T=zeros_T,
            positions_T=zeros_T.clone(),
            slots_T=zeros_T.clone(),
            attention=attention.plan(Spans(pack_spans((0, 0, most, 0)), np.zeros((1, most), np.int64))),
        )
        places_S = torch.zeros(min(HEAD_ROWS, most), dtype=torch.int64)
        self._forward, hidden_TD = record(library, lambda: model.forward(batch), most, batch.inputs)
        self._head, self._logits_SV = record(
            library, lambda: model.logits(hidden_TD, places_S), len(places_S), (places_S,)
        )
        _log.info("a step is two calls of %d and %d native ones", self._forward.calls, self._head.calls)

    @property
    def bytes(self) -> tuple[int, int]:
        """Of the memory of both recordings, when a step is as large as it may be."""
        return self._forward.bytes, self._head.bytes

    def forward(self, batch: ForwardBatch) -> None:
        self._forward.replay(len(batch.tokens_T), batch.inputs)

    def logits(self, places_S: Tensor) -> Tensor:
        self._head.replay(len(places_S), (places_S,))
        return self._logits_SV[: len(places_S)]


def passes_of(model: Model, attention: AttentionBackend, config: EngineConfig) -> Passes:
    """Recorded where all that a model does is native, else plain."""
    if not config.device.is_native:
        return PlainPasses(model)
    try:
        return RecordedPasses(model, attention, config)
    except CannotRecord as error:
        _log.warning("steps run op by op, since %s", error)
        return PlainPasses(model)
