"""Is what the engine says right? Its log-probabilities beside transformers', and beside its own in other runs.

The measure is transformers in float32. What transformers itself loses in bfloat16 is what may be lost: times 1.25.
"""

from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.engines import Ours, prompts
from benchmarks.gpu.stage import Stage, difference, forget, tell
from benchmarks.gpu.weights import folder_of

ALLOWED = 1.25
CLEAR = 0.05  # by so much the best token leads before the choice must be the same
ROWS, TOKENS = 4, 24
CACHE_BYTES = 4 << 30  # of each engine: several stand in one process, one after the other


def correctness(stage: Stage) -> None:
    for model in stage.models:
        folder = folder_of(stage, model)
        asked = prompts(folder, ROWS, stage.pick(300, 40), seed=3)
        found = _said(stage, folder, asked)
        _beside_transformers(stage, model, folder, asked, found["alone"])
        for name, other in found.items():
            tell(
                "same tokens",
                model=model,
                run=name,
                same=sum(a["output_ids"] == b["output_ids"] for a, b in zip(other, found["alone"], strict=True)),
                of=ROWS,
                difference=difference(_scores(other), _scores(found["alone"])),
            )


def _said(stage: Stage, folder: Path, asked: list[list[int]]) -> dict[str, list[dict[str, Any]]]:
    """Answers of several runs that should agree: by graphs or not, alone or together, chunked, from the cache."""
    runs: dict[str, list[dict[str, Any]]] = {}
    player = Ours(stage, folder, disable_radix_cache=False, kv_cache_memory=stage.pick(CACHE_BYTES, 8 << 20))
    for _ in range(stage.pick(3, 1)):  # by the last time, what can be captured is
        runs["alone"] = [player.scores([prompt], TOKENS)[0] for prompt in asked]
    runs["together"] = player.scores(asked, TOKENS)
    filled = asked + prompts(folder, stage.pick(60, 4), 50, seed=4)
    runs["in a full batch"] = player.scores(filled, TOKENS)[:ROWS]
    player.close()
    forget()
    for name, options in (
        ("chunked", {"chunked_prefill_size": stage.pick(128, 16)}),
        ("launch by launch", {"disable_cuda_graph": True}),
        ("depth 1", {"schedule_depth": 1}),
    ):
        player = Ours(stage, folder, kv_cache_memory=stage.pick(CACHE_BYTES, 8 << 20), **options)
        runs[name] = player.scores(asked, TOKENS)
        player.close()
        forget()
    return runs


def _scores(answers: list[dict[str, Any]]) -> torch.Tensor:
    """Log-probabilities of prompts and answers; the first token has none."""
    kinds = ("input_token_logprobs", "output_token_logprobs")
    return torch.tensor(
        [triple[0] for each in answers for kind in kinds for triple in each[kind] if triple[0] is not None]
    )


def _beside_transformers(
    stage: Stage, model: str, folder: Path, asked: list[list[int]], found: list[dict[str, Any]]
) -> None:
    drawn = torch.tensor([each["output_ids"] for each in found])
    whole = torch.cat([torch.tensor(asked), drawn], 1)
    right, logprobs = _judged(stage, folder, whole, torch.float32)
    rounded, _ = _judged(stage, folder, whole, torch.bfloat16)
    theirs, ours = difference(rounded, right), difference(_scores(found), right)
    best = logprobs.topk(2)
    clear = best.values[..., 0] - best.values[..., 1] > CLEAR
    tell(
        "beside transformers",
        model=model,
        difference=ours,
        transformers_bf16=theirs,
        is_right=ours <= ALLOWED * theirs,
        clear_choices=int(clear.sum()),
        same_choices=int((best.indices[..., 0] == drawn)[clear].sum()),
    )


def _judged(stage: Stage, folder: Path, whole: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each token but the first its log-probability; and all of those at the places of answers."""
    from transformers import AutoModelForCausalLM

    judge: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa")
    judge = judge.to(stage.device).eval()
    taken, answers = [], []
    with torch.inference_mode():
        for row in whole.to(stage.device):
            logprobs = judge(row[None]).logits[0, :-1].float().log_softmax(-1)
            taken.append(logprobs.gather(1, row[1:, None])[:, 0].cpu())
            answers.append(logprobs[-TOKENS:].cpu())
    del judge
    forget()
    return torch.cat(taken), torch.stack(answers)
