"""transformers behind the adapter: `python transformers_server.py MODEL PORT`.

Requests that wait together become one static batch, padded on the left; the next batch begins when the longest
answer of this one is done. Its own continuous batching was slower on processors when it was last tried.
"""

import sys
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.arena.adapter import Job, Jobs, serve  # it lies beside no installed package

GATHER_SECONDS = 0.01  # so long a batch waits for those who come at the same time


def run(model: PreTrainedModel, jobs: Jobs) -> None:
    while True:
        batch = [jobs.get()]
        time.sleep(GATHER_SECONDS)
        while not jobs.empty():
            batch.append(jobs.get())
        with torch.inference_mode():
            answer(model, batch)


def answer(model: PreTrainedModel, batch: list[Job]) -> None:
    """Greedy, every row to the end of the longest."""
    # B rows, T tokens of the longest prompt
    longest = max(len(job.prompt) for job in batch)
    ids_BT = torch.tensor([[0] * (longest - len(job.prompt)) + job.prompt for job in batch])
    mask_BT = torch.tensor([[0] * (longest - len(job.prompt)) + [1] * len(job.prompt) for job in batch])
    positions_BT = (mask_BT.cumsum(1) - 1).clamp(min=0)
    cache = None
    for step in range(max(job.max_tokens for job in batch)):
        found = model(
            input_ids=ids_BT,
            attention_mask=mask_BT,
            position_ids=positions_BT,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache = found.past_key_values
        tokens = found.logits[:, -1].argmax(-1)
        for job, token in zip(batch, tokens.tolist(), strict=True):
            if step < job.max_tokens:
                job.push([token])
        ids_BT = tokens[:, None]
        mask_BT = torch.cat([mask_BT, torch.ones_like(ids_BT)], 1)
        positions_BT = positions_BT[:, -1:] + 1


def main() -> None:
    folder, port = sys.argv[1], int(sys.argv[2])
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", attn_implementation="sdpa")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    serve(port, lambda tokens: str(tokenizer.decode(tokens, skip_special_tokens=True)), lambda jobs: run(model, jobs))


if __name__ == "__main__":
    main()
