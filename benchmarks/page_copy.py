"""What a page costs that begins with a copy, and what the cache costs that finds it.

    python -m benchmarks.page_copy

Prints two JSON lines, medians of microseconds: to copy a page of 16 tokens in all layers, by shape of pool; and what
the cache works for a request of 100 + 256 tokens, from its hit until its pages are evicted for others.
"""

import time
from array import array
from statistics import median

import msgspec
import torch

from benchmarks.facts import report
from stemma.control.cache.prefix import PrefixCache
from stemma.core.config.engine import CacheConfig
from stemma.core.config.model import ModelSpec, RopeSpec
from stemma.device.kv.pool import KVPool

PAGE_SIZE, PAGES, COPIES, REQUESTS, RUNNING = 16, 512, 500, 5000, 16
PROMPT, OUTPUT = 100, 256
SHAPES = {"0.6B": (28, 8, 128), "12M": (6, 4, 64)}  # layers, heads of keys, their width
SPEC = ModelSpec(
    architecture="LlamaForCausalLM", model_type="llama", vocab_size=1, hidden=1, layers=1, heads=1,
    kv_heads=1, head_dim=1, intermediate=1, norm_eps=1e-6, rope=RopeSpec(), max_context=4096, windows=(0,), tied=True,
)  # fmt: skip


def copy_us(layers: int, heads: int, width: int) -> float:
    spec = msgspec.structs.replace(SPEC, layers=layers, kv_heads=heads, head_dim=width, windows=(0,) * layers)
    pool = KVPool(spec, PAGES, PAGE_SIZE, torch.bfloat16)
    for tensor in (*pool.keys, *pool.values):
        tensor.fill_(1.0)
    took = []
    for number in range(COPIES):
        began = time.perf_counter()
        pool.copy_page(number * 7 % PAGES, (number * 13 + 5) % PAGES)
        took.append((time.perf_counter() - began) * 1e6)
    return round(median(took), 1)


def cache_us() -> float:
    """Of requests that come and go while others run, in a cache that is full."""
    cache = PrefixCache(CacheConfig(pages=2 * RUNNING * (PROMPT + OUTPUT) // PAGE_SIZE, page_size=PAGE_SIZE))
    running, took = [], []
    for number in range(REQUESTS):
        prompt = array("i", ((number * 7919 + position * 31) % 32_000 for position in range(PROMPT)))
        answer = prompt + array("i", (5,)) * OUTPUT
        began = time.perf_counter()
        cache.tick()
        lease = cache.acquire(cache.match(prompt, "", PROMPT - 1), "", PROMPT, PROMPT + OUTPUT - 1)
        cache.share(lease, prompt, PROMPT - 1)
        assert cache.extend(lease, PROMPT + OUTPUT - 1) is not None
        cache.publish(lease, prompt, PROMPT)
        running.append((lease, answer))
        if len(running) == RUNNING:
            ended, tokens = running.pop(0)
            cache.release(ended, tokens, PROMPT + OUTPUT - 1)
        took.append((time.perf_counter() - began) * 1e6)
    return round(median(took[REQUESTS // 2 :]), 1)


def main() -> None:
    torch.set_num_threads(2)
    with torch.inference_mode():
        report("page_copy", unit="microseconds", **{name: copy_us(*shape) for name, shape in SHAPES.items()})
    report("cache_request", unit="microseconds", median=cache_us())


if __name__ == "__main__":
    main()
