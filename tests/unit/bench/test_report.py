"""What is printed, written and drawn."""

import json
import xml.etree.ElementTree
from pathlib import Path

from stemma.bench.facts import facts
from stemma.bench.load import Load
from stemma.bench.plot import draw_report, shares
from stemma.bench.report import Report, page, record, report_of
from stemma.bench.timeline import Timeline
from stemma.bench.workload import Span, Workload

KEYS = """
tag backend dataset_name request_rate max_concurrency sharegpt_output_len random_input_len random_output_len
random_range_ratio server_info duration completed total_input_tokens total_input_text_tokens
total_input_vision_tokens total_output_tokens total_output_tokens_retokenized request_throughput input_throughput
output_throughput total_throughput concurrency accept_length max_output_tokens_per_s max_concurrent_requests
""".split()
STATISTICS = "mean median std p90 p95 p99".split()
DETAILS = "input_lens output_lens ttfts itls generated_texts errors".split()


def made(**load: object) -> Report:
    """Two answers of three tokens, one second apart, and a failure."""
    timelines = [Timeline(5, 3, sent=0.0), Timeline(7, 3, sent=0.0), Timeline(9, 3, error="refused")]
    for number, timeline in enumerate(timelines[:2]):
        for count in range(1, 4):
            timeline.hear(number + 0.5 * count, "x", count)
        timeline.is_done = True
    workload = Workload(requests=3, input_tokens=Span(5, 10), output_tokens=Span(3, 3))
    return report_of("native", Load(workload=workload, **load), timelines, {"version": "1"}, "a tag")  # type: ignore[arg-type]  # kwargs of a struct


def test_the_line_has_every_key() -> None:
    line = record(made())
    assert not {*KEYS} - {*line}
    for name in ("e2e_latency", "ttft", "tpot", "itl"):
        assert not {f"{statistic}_{name}_ms" for statistic in STATISTICS} - {*line}
    assert {*facts()} <= {*line}
    assert json.loads(json.dumps(line)) == line
    assert not {*DETAILS} & {*line}


def test_the_line_says_what_was_asked_and_found() -> None:
    line = record(made(request_rate=4.0, max_concurrency=8))
    assert (line["tag"], line["backend"], line["dataset_name"]) == ("a tag", "native", "random-ids")
    assert (line["request_rate"], line["max_concurrency"], line["random_range_ratio"]) == (4.0, 8, 0.5)
    assert (line["completed"], line["failed"], line["duration"]) == (2, 1, 2.5)
    assert (line["total_input_tokens"], line["total_output_tokens"]) == (12, 6)
    assert (line["output_throughput"], line["total_throughput"]) == (6 / 2.5, 18 / 2.5)
    assert (line["mean_ttft_ms"], line["median_itl_ms"], line["concurrency"]) == (1000, 500, (1.5 + 2.5) / 2.5)
    assert record(made())["request_rate"] == "inf"


def test_details_are_request_by_request() -> None:
    line = record(made(), with_details=True)
    assert line["input_lens"] == [5, 7, 9]
    assert line["ttfts"] == [0.5, 1.5, None]
    assert line["itls"] == [[0.5, 0.5], [0.5, 0.5], []]
    assert line["errors"] == [None, None, "refused"]


def test_the_table() -> None:
    lines = page(made()).splitlines()
    assert lines[0] == "============ Serving Benchmark Result ============"
    for row in (
        "Successful requests:                     2",
        "Failed requests:                         1",
        "Max request concurrency:                 not set",
        "Output token throughput (tok/s):         2.40",
        "-----Time per Output Token (excl. 1st token)------",
        "Median TTFT (ms):                        1000.00",
        "P99 E2E Latency (ms):                    2490.00",
    ):
        assert row in lines
    assert all(line == line.rstrip() for line in lines)


def test_shares() -> None:
    assert shares([3.0, 1.0]) == ([1.0, 3.0], [50.0, 100.0])
    assert shares([]) == ([], [])


def test_a_picture_is_well_formed(tmp_path: Path) -> None:
    path = tmp_path / "a.svg"
    for report in (made(), report_of("native", made().load, [])):
        draw_report(report, path)
        words = "".join(xml.etree.ElementTree.fromstring(path.read_text()).itertext())
        assert "Time to First Token" in words and f"{report.numbers.completed} requests" in words
    draw_report(made(), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
