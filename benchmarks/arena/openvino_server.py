"""OpenVINO GenAI's continuous batching behind the adapter: `python openvino_server.py MODEL PORT`.

MODEL is what `optimum-cli export openvino` made; recipes/openvino.sh does it.
"""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import openvino  # type: ignore[import-not-found]  # lives in the environment of its recipe
import openvino_genai  # type: ignore[import-not-found]  # the same

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.arena.adapter import Job, Jobs, serve  # it lies beside no installed package


def pipeline_of(folder: str) -> openvino_genai.ContinuousBatchingPipeline:
    config = openvino_genai.SchedulerConfig()
    config.cache_size = int(os.environ.get("CACHE_GB", "5"))
    config.max_num_seqs = 64
    config.max_num_batched_tokens = 2048
    config.dynamic_split_fuse = True
    config.enable_prefix_caching = True
    threads = len(os.sched_getaffinity(0))
    return openvino_genai.ContinuousBatchingPipeline(folder, config, "CPU", {"INFERENCE_NUM_THREADS": threads})


def run(pipeline: openvino_genai.ContinuousBatchingPipeline, jobs: Jobs) -> None:
    live: list[tuple[Job, Any]] = []
    number = 0
    while True:
        while not live or not jobs.empty():
            job, number = jobs.get(), number + 1
            live.append((job, add(pipeline, number, job)))
        pipeline.step()
        for job, handle in live:
            while handle.can_read():
                for answer in handle.read().values():
                    job.push(answer.generated_ids)
        # A step keeps the interpreter to itself: without a wait in between no token would leave before the last.
        live[0][0].sent()
        if not pipeline.has_non_finished_requests():
            live.clear()


def add(pipeline: openvino_genai.ContinuousBatchingPipeline, number: int, job: Job) -> Any:
    config = openvino_genai.GenerationConfig()
    config.max_new_tokens = config.min_new_tokens = job.max_tokens
    config.ignore_eos, config.do_sample, config.apply_chat_template = True, False, False
    return pipeline.add_request(number, openvino.Tensor(np.array([job.prompt], dtype=np.int64)), config)


def main() -> None:
    folder, port = sys.argv[1], int(sys.argv[2])
    tokenizer = openvino_genai.Tokenizer(folder)
    pipeline = pipeline_of(folder)
    serve(port, lambda tokens: str(tokenizer.decode(tokens)), lambda jobs: run(pipeline, jobs))


if __name__ == "__main__":
    main()
