"""The worker over real models: transformers' answers, and the same bytes in every company, chunk and place."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from stemma.core.config.engine import CacheConfig, DeviceConfig, DType, EngineConfig, ScheduleConfig
from stemma.core.config.families import read_model_spec
from stemma.core.types.sampling import LogprobSpec, SamplingParams
from stemma.device.worker.worker import Worker
from tests.checkpoints import tiny_checkpoint
from tests.unit.device.worker.prefix_model import Asked, Host

PAGE_SIZE = 8
PAGES = 128


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny"), "Qwen3ForCausalLM", vocab_size=517)


def real_worker(folder: Path, dtype: DType, threads: int = 1) -> Worker:
    return Worker(
        EngineConfig(
            model_path=str(folder), model=read_model_spec(folder), load_format="auto", context=256, seed=0,
            cache=CacheConfig(pages=PAGES, page_size=PAGE_SIZE),
            schedule=ScheduleConfig(max_running=32, max_queued=None, step_tokens=512),
            device=DeviceConfig(dtype=dtype, kv_dtype=dtype, threads=threads),
        )
    )  # fmt: skip


def asked(seed: int, count: int) -> list[Asked]:
    draw = random.Random(seed)
    kinds = [
        SamplingParams(temperature=0.0),
        SamplingParams(temperature=0.8, top_p=0.9, sampling_seed=seed),
        SamplingParams(top_k=20, frequency_penalty=0.5, sampling_seed=-seed),
        SamplingParams(temperature=0.0, repetition_penalty=1.2, min_new_tokens=4),
    ]
    return [
        Asked(
            prompt=[draw.randrange(517) for _ in range(draw.randrange(2, 60))],
            sampling=kinds[i % 4],
            new_tokens=8,
            spec=LogprobSpec(start=0, top=2, token_ids=(1,)),
            stop_ids=(7, 8, 9),
        )
        for i in range(count)
    ]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_same_bytes_in_every_company(folder: Path, dtype: DType) -> None:
    sequences = asked(3, 6)
    alone, together, chunked, threaded = ([one.again() for one in sequences] for _ in range(4))
    worker = real_worker(folder, dtype)
    for one in alone:
        Host(worker, chunk=1000, pages=PAGES, page_size=PAGE_SIZE).run(one)
    Host(worker, chunk=1000, seed=5, pages=PAGES, page_size=PAGE_SIZE).run(*together)
    Host(worker, chunk=5, seed=6, pages=PAGES, page_size=PAGE_SIZE).run(*reversed(chunked))
    Host(real_worker(folder, dtype, threads=2), chunk=23, seed=7, pages=PAGES, page_size=PAGE_SIZE).run(*threaded)
    assert alone == together
    assert alone == chunked
    assert alone == threaded


def test_log_probabilities_are_those_of_transformers(folder: Path) -> None:
    sequences = [replace(one, sampling=SamplingParams(temperature=0.0), stop_ids=()) for one in asked(4, 5)]
    Host(real_worker(folder, "float32"), chunk=40, pages=PAGES, page_size=PAGE_SIZE).run(*sequences)
    judge = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for one in sequences:
        with torch.inference_mode():
            logits = judge(torch.tensor([one.prompt + one.tokens])).logits[0]
        logprobs = logits.log_softmax(-1)
        for at, found in enumerate(one.prompt_logprobs + one.logprobs):
            assert found.logprob == pytest.approx(logprobs[at, found.token].item(), abs=1e-4)
        best_two = logits[len(one.prompt) - 1 : -1].topk(2)
        clear = best_two.values[:, 0] - best_two.values[:, 1] > 1e-3
        expected = best_two.indices[:, 0].tolist()
        assert [token for token, sure in zip(one.tokens, clear, strict=True) if sure] == [
            token for token, sure in zip(expected, clear, strict=True) if sure
        ]
        assert clear.sum() > 4
