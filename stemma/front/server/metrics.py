"""Prometheus series, named as SGLang names them: what the front counts, and what the scheduler says of itself."""

import time
from bisect import bisect_left
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from itertools import accumulate
from math import inf

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from stemma.core.types.control import Stats
from stemma.core.types.output import TextChunk, Usage

# fmt: off
TTFT_BUCKETS = (0.1, 0.2, 0.4, 0.6, 0.8, 1, 2, 4, 6, 8, 10, 20, 40, 60, 80, 100, 200, 400)
ITL_BUCKETS = (0.002, 0.004, 0.006, 0.008, 0.010, 0.015, 0.020, 0.025, 0.030, 0.035, 0.040, 0.060, 0.080,
               0.1, 0.2, 0.4, 0.6, 0.8, 1, 2, 4, 6, 8)
E2E_BUCKETS = (0.1, 0.2, 0.4, 0.6, 0.8, 1, 2, 4, 6, 8, 10, 20, 40, 60, 80, 100, 200, 400, 600, 1200, 1800, 2400)
# fmt: on

LABELS = ("model_name", "engine_type")

# name, what it is, and its value now
Row = tuple[str, str, Callable[[Stats], float]]

GAUGES: tuple[Row, ...] = (
    ("num_running_reqs", "requests that hold a row", lambda s: s.running),
    ("num_queue_reqs", "requests that wait for a row", lambda s: s.waiting),
    ("gen_throughput", "output tokens per second", lambda s: s.output_tokens_per_second),
    (
        "cache_hit_rate",
        "share of prompt tokens found in the cache",
        lambda s: s.cached_tokens / max(1, s.prompt_tokens),
    ),
    ("token_usage", "share of the pages held by requests", lambda s: s.used_pages / max(1, s.pages)),
    ("num_used_tokens", "tokens of cache held by requests", lambda s: s.used_pages * s.page_size),
    ("kv_used_tokens", "tokens of cache held by requests", lambda s: s.used_pages * s.page_size),
    ("kv_available_tokens", "tokens of cache that nobody holds", lambda s: s.free_pages * s.page_size),
    ("kv_evictable_tokens", "tokens of cache kept for reuse only", lambda s: s.cached_pages * s.page_size),
    ("max_total_num_tokens", "tokens of cache in all", lambda s: s.pages * s.page_size),
    ("num_pages", "pages of cache", lambda s: s.pages),
    ("page_size", "tokens of a page", lambda s: s.page_size),
    ("new_token_ratio", "share of the longest answer that admission expects", lambda s: s.token_ratio),
)
COUNTERS: tuple[Row, ...] = (
    ("num_retracted_requests", "requests that lost their row and came back", lambda s: s.retractions),
    ("num_steps", "forward passes", lambda s: s.steps),
)


class SchedulerSeries(Collector):
    """What the engine said of itself when it was last asked."""

    def __init__(self, labels: tuple[str, ...]):
        self.stats: Stats | None = None
        self._labels = labels

    def collect(self) -> Iterator[Metric]:
        if self.stats is None:
            return
        for kind, rows in ((GaugeMetricFamily, GAUGES), (CounterMetricFamily, COUNTERS)):
            for name, says, value in rows:
                family = kind(f"sglang:{name}", says, labels=LABELS)
                family.add_metric(self._labels, value(self.stats))
                yield family


class Gaps(Collector):
    """The histogram of the time between two tokens. The library's takes microseconds for each of them."""

    def __init__(self, labels: tuple[str, ...]):
        self._labels = labels
        self._counts = [0] * (len(ITL_BUCKETS) + 1)
        self._seconds = 0.0

    def add(self, tokens: int, seconds: float) -> None:
        """So many tokens came so long after those before them."""
        self._counts[bisect_left(ITL_BUCKETS, seconds / tokens)] += tokens
        self._seconds += seconds

    def collect(self) -> Iterator[Metric]:
        bounds = map(floatToGoString, (*ITL_BUCKETS, inf))
        family = HistogramMetricFamily("sglang:inter_token_latency_seconds", "between two tokens", labels=LABELS)
        family.add_metric(self._labels, [*zip(bounds, accumulate(self._counts), strict=True)], self._seconds)
        yield family


class Metrics:
    """All series of one server. Nothing runs between two scrapes."""

    def __init__(self, model_name: str):
        self._registry = CollectorRegistry()
        self._labels = (model_name, "unified")
        self._scheduler = SchedulerSeries(self._labels)
        self._registry.register(self._scheduler)
        streaming = (*LABELS, "is_streaming")

        def counter(name: str, says: str, labels: tuple[str, ...] = streaming) -> Counter:
            return Counter(f"sglang:{name}", says, labels, registry=self._registry)

        def histogram(name: str, says: str, buckets: tuple[float, ...], labels: tuple[str, ...]) -> Histogram:
            return Histogram(f"sglang:{name}_seconds", says, labels, buckets=buckets, registry=self._registry)

        self._requests = counter("num_requests", "requests that ended")
        self._prompt = counter("prompt_tokens", "tokens of their prompts")
        self._output = counter("generation_tokens", "tokens of their answers")
        self._cached = counter("cached_tokens", "prompt tokens found in the cache", (*LABELS, "cache_source"))
        self._aborted = counter("num_aborted_requests", "requests that ended early", LABELS)
        self._first = histogram("time_to_first_token", "from request to first token", TTFT_BUCKETS, streaming)
        self._gaps = Gaps(self._labels)
        self._registry.register(self._gaps)
        self._whole = histogram("e2e_request_latency", "from request to last token", E2E_BUCKETS, streaming)
        self._http = counter("http_requests", "requests that came in", ("endpoint", "method"))
        self._answers = counter("http_responses", "answers that began", ("endpoint", "status_code", "method"))
        self._active = Gauge(
            "sglang:http_requests_active", "requests in service", ("endpoint", "method"), registry=self._registry
        )

    def page(self, stats: Stats | None) -> bytes:
        """The text that Prometheus reads."""
        self._scheduler.stats = stats
        return generate_latest(self._registry)

    @contextmanager
    def http(self, endpoint: str, method: str, status: Callable[[], int]) -> Iterator[None]:
        """One HTTP request, from its head to the last byte of its answer."""
        self._http.labels(endpoint, method).inc()
        active = self._active.labels(endpoint, method)
        active.inc()
        try:
            yield
        finally:
            active.dec()
            self._answers.labels(endpoint, status(), method).inc()

    async def watch(
        self, chunks: AsyncGenerator[TextChunk, None], is_streaming: bool
    ) -> AsyncGenerator[TextChunk, None]:
        """The same chunks; counts what they tell and when they came."""
        mode = (*self._labels, str(is_streaming).lower())
        first = self._first.labels(*mode)
        began = time.monotonic()
        last: dict[int, float] = {}  # when each continuation said something
        is_whole = False
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    now = time.monotonic()
                    if chunk.tokens:
                        if chunk.index in last:
                            self._gaps.add(len(chunk.tokens), now - last[chunk.index])
                        else:
                            first.observe(now - began)
                        last[chunk.index] = now
                    if chunk.finish is not None:
                        self._end(chunk, mode, now - began)
                    yield chunk
            is_whole = True
        finally:
            if not is_whole:  # refused, or the client left
                self._aborted.labels(*self._labels).inc()

    def _end(self, chunk: TextChunk, mode: tuple[str, ...], seconds: float) -> None:
        """One continuation ended. The prompt counts once, however many continuations it has."""
        usage = chunk.usage or Usage()
        self._requests.labels(*mode).inc()
        self._whole.labels(*mode).observe(seconds)
        self._output.labels(*mode).inc(usage.output)
        if chunk.index == 0:
            self._prompt.labels(*mode).inc(usage.prompt)
            self._cached.labels(*self._labels, "device").inc(usage.cached)
        if chunk.finish is not None and chunk.finish.reason in ("abort", "error"):
            self._aborted.labels(*self._labels).inc()
