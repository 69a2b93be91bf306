"""Engines behind one call: continue these prompts by so many tokens, greedily, with no prefix kept."""

import json
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import torch

from benchmarks.gpu.stage import Stage

Prompts = Sequence[Sequence[int]]
MOST_CONTEXT = 16384


class Player(Protocol):
    """An engine that has loaded its model."""

    most_rows: int  # that it is asked to continue at once

    def generate(self, prompts: Prompts, tokens: int) -> list[list[int]]:
        """The answers; all of this length."""
        ...

    def close(self) -> None: ...


class Ours:
    """Stemma, in this process."""

    most_rows = 256

    def __init__(self, stage: Stage, folder: Path, **options: Any):
        from stemma.offline import Engine

        asked: dict[str, Any] = {
            "device": stage.device,
            "kernels": stage.kernels,
            "disable_radix_cache": True,
            "grammar_backend": "none",
            "context_length": MOST_CONTEXT,
        }
        if stage.is_tiny:
            asked |= {"kv_cache_memory": 8 << 20, "context_length": 512, "threads": 1}
        self._engine = Engine(model_path=str(folder), **(asked | options))

    def generate(self, prompts: Prompts, tokens: int) -> list[list[int]]:
        sampling = {"max_new_tokens": tokens, "temperature": 0, "ignore_eos": True}
        answers = self._engine.generate(input_ids=[list(prompt) for prompt in prompts], sampling_params=sampling)
        return [answer["output_ids"] for answer in answers]

    def scores(self, prompts: Prompts, tokens: int) -> list[dict[str, Any]]:
        """`meta_info` of each answer, with the log-probabilities of prompt and answer."""
        sampling = {"max_new_tokens": tokens, "temperature": 0, "ignore_eos": True}
        answers = self._engine.generate(
            input_ids=[list(prompt) for prompt in prompts],
            sampling_params=sampling,
            return_logprob=True,
            logprob_start_len=0,
        )
        return [answer["meta_info"] | {"output_ids": answer["output_ids"]} for answer in answers]

    def close(self) -> None:
        self._engine.shutdown()


class Static:
    """transformers' `generate` with a static cache, which it compiles on a GPU."""

    most_rows = 64

    def __init__(self, stage: Stage, folder: Path):
        from transformers import AutoModelForCausalLM

        self._device = stage.device
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, attn_implementation="sdpa")
        self._model: Any = model.to(stage.device).eval()

    def generate(self, prompts: Prompts, tokens: int) -> list[list[int]]:
        ids = torch.tensor([list(prompt) for prompt in prompts], device=self._device)
        kept: dict[str, Any] = {"cache_implementation": "static"} if self._device != "cpu" else {}
        answers = self._model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=tokens,
            min_new_tokens=tokens,
            do_sample=False,
            pad_token_id=0,
            **kept,
        )
        found: list[list[int]] = answers[:, ids.shape[1] :].tolist()
        return found

    def close(self) -> None:
        del self._model


class Paged(Static):
    """transformers' continuous batching: pages and graphs."""

    most_rows = 256

    def __init__(self, stage: Stage, folder: Path):
        super().__init__(stage, folder)
        if stage.is_accelerated:
            self._model.set_attn_implementation("paged|sdpa")

    def generate(self, prompts: Prompts, tokens: int) -> list[list[int]]:
        import transformers

        asked: Any = transformers.GenerationConfig(  # type: ignore[no-untyped-call]  # its library
            max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, eos_token_id=-1, pad_token_id=0
        )
        settings = getattr(transformers, "ContinuousBatchingConfig", None)
        kept: Any = (
            settings(max_memory_percent=0.6, allow_block_sharing=False, use_cuda_graph=True) if settings else None
        )
        answers: Any = self._model.generate_batch(
            [list(prompt) for prompt in prompts], generation_config=asked, continuous_batching_config=kept
        )
        return [list(answer.generated_tokens) for answer in answers.values()]


class Vllm:
    """vLLM's offline engine."""

    most_rows = 256

    def __init__(self, stage: Stage, folder: Path):
        os.environ |= {"VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
        from vllm import LLM  # type: ignore[import-not-found]  # carried, or not

        self._engine: Any = LLM(
            model=str(folder),
            skip_tokenizer_init=True,
            max_model_len=MOST_CONTEXT,
            gpu_memory_utilization=0.85,
            max_num_seqs=256,
            max_num_batched_tokens=8192,
            enable_prefix_caching=False,
        )

    def generate(self, prompts: Prompts, tokens: int) -> list[list[int]]:
        from vllm import SamplingParams

        asked = SamplingParams(max_tokens=tokens, min_tokens=tokens, ignore_eos=True, temperature=0.0, detokenize=False)
        given = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        answers = self._engine.generate(given, asked, use_tqdm=False)
        return [list(answer.outputs[0].token_ids) for answer in answers]

    def close(self) -> None:
        del self._engine


class Sglang:
    """SGLang's offline engine."""

    most_rows = 256

    def __init__(self, stage: Stage, folder: Path):
        os.environ |= {"HF_HUB_OFFLINE": "1"}
        import sglang  # type: ignore[import-not-found]  # carried, or not

        has_flashinfer = find_spec("flashinfer") is not None
        self._engine: Any = sglang.Engine(
            model_path=str(folder),
            skip_tokenizer_init=True,
            context_length=MOST_CONTEXT,
            attention_backend="flashinfer" if has_flashinfer else "triton",
            sampling_backend="pytorch",
            disable_radix_cache=True,
            max_running_requests=256,
            chunked_prefill_size=8192,
        )

    def generate(self, prompts: Prompts, tokens: int) -> list[list[int]]:
        sampling = {"max_new_tokens": tokens, "temperature": 0, "ignore_eos": True}
        answers = self._engine.generate(input_ids=[list(prompt) for prompt in prompts], sampling_params=sampling)
        return [list(answer["output_ids"]) for answer in answers]

    def close(self) -> None:
        self._engine.shutdown()


PLAYERS: dict[str, type[Player]] = {
    "stemma": Ours,
    "transformers-static": Static,
    "transformers-paged": Paged,
    "vllm": Vllm,
    "sglang": Sglang,
}


def importable(stage: Stage) -> tuple[str, ...]:
    """Those that can be started here, ours first. Continuous batching takes a processor's whole memory, and minutes."""
    only_accelerated = ("transformers-paged", "vllm", "sglang")
    return tuple(
        name
        for name in PLAYERS
        if name not in only_accelerated or (stage.is_accelerated and find_spec(name.partition("-")[0]))
    )


def vocabulary(folder: Path) -> int:
    size: int = json.loads((folder / "config.json").read_text())["vocab_size"]
    return size


def prompts(folder: Path, rows: int, tokens: int, seed: int = 1) -> list[list[int]]:
    """Random ids; the same for everybody."""
    drawn = torch.randint(0, vocabulary(folder), (rows, tokens), generator=torch.Generator().manual_seed(seed))
    found: list[list[int]] = drawn.tolist()
    return found
