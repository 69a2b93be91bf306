"""Tables of results: of one run, and where all runs leave us: `python -m benchmarks.gpu.table` writes the README's."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.weights import CONTEXT, SHAPES
from stemma.core.config.accelerator import KNOWN, Accelerator, known
from stemma.core.config.engine import CacheConfig, DeviceConfig, EngineConfig, ScheduleConfig
from stemma.core.config.floor import decode_bytes, decode_operations, prefill_rate
from stemma.core.config.model import ModelSpec, RopeSpec

Lines = Sequence[Mapping[str, Any]]
HERE = Path(__file__).parent
BEGIN, END = "<!-- table: python -m benchmarks.gpu.table -->\n", "<!-- end of the table -->\n"
NEVER = "never measured"
ENGINES = ("stemma", "transformers-static", "transformers-paged", "vllm", "sglang")
DEVICE = "h200"
OTHERS = ("flash_us", "flashinfer_us", "vllm_flash_us")  # of kernels of libraries

# What to reach on an H200: milliseconds of a decode step at 1024 tokens of context, by rows; tokens a second of a
# prompt of 8192; output tokens a second of the offline workload.
STEP_MS = {
    "qwen3-0.6b": {1: 0.61, 8: 0.82, 64: 2.60, 256: 8.82},
    "qwen3-8b": {1: 4.30, 8: 4.57, 64: 6.97, 256: 15.06},
}
PREFILL = {"qwen3-0.6b": None, "qwen3-8b": 34000}
OFFLINE = {"qwen3-0.6b": 28500, "qwen3-8b": None}


def table(lines: Lines) -> str:
    """Markdown of one run: its ceilings, then every result with its share of them."""
    ceilings = {line["case"]: line for line in lines if line.get("section") == "ceilings"}
    read, flops = (ceilings.get(case, {}).get(key) for case, key in (("read", "bytes_per_second"), ("matrix", "flops")))
    parts = [f"# {_title(lines)}\n", *_ceilings(ceilings)]
    for title, rows in (
        ("Steps", _steps(lines, read, flops)),
        ("Kernels", _kernels(lines, read, flops)),
        ("What the same bytes cost", _costs(lines)),
        ("Correctness", _plain(lines, "correctness")),
        ("Same bits", _plain(lines, "bits")),
        ("Offline", _plain(lines, "workload")),
        ("Server", _plain(lines, "server")),
        ("What did not run", _failed(lines)),
    ):
        found = list(rows)
        if found:
            parts += [f"\n## {title}\n\n", *_markdown(found)]
    return "".join(parts)


def standing(lines: Lines) -> str:
    """Where we stand: one row for each thing to reach; of several runs the last counts."""
    rows = []
    for model, targets in STEP_MS.items():
        for rows_, target in targets.items():
            found = _last(lines, "decode", "ms", model=model, rows=rows_)
            rows.append(
                {
                    "what": f"{model}, step of {rows_}, ms",
                    "floor": f"{_floor_ms(model, rows_):.2f}",
                    "target": target,
                    **found,
                }
            )
        found = _last(lines, "prefill", "tokens_per_second", model=model, prompt=8192)
        floor = prefill_rate(config_of(model), _device(), 8192)
        rows.append(
            {
                "what": f"{model}, prompt of 8192, tokens/s",
                "floor": f"{floor:,.0f}",
                "target": PREFILL[model] or "",
                **found,
            }
        )
        found = _last(lines, "offline", "tokens_per_second", model=model)
        rows.append(
            {"what": f"{model}, offline workload, tokens/s", "floor": "", "target": OFFLINE[model] or "", **found}
        )
    return "".join(_markdown(rows))


def main() -> None:
    lines = [
        json.loads(text)
        for file in sorted((HERE / "results").glob("*.jsonl"))
        for text in file.read_text().splitlines()
    ]
    page = (HERE / "README.md").read_text()
    before, _, rest = page.partition(BEGIN)
    (HERE / "README.md").write_text(before + BEGIN + standing(lines) + END + rest.partition(END)[2])


def _last(lines: Lines, case: str, key: str, **about: object) -> dict[str, object]:
    """The last value of each engine."""
    found: dict[str, object] = dict.fromkeys(ENGINES, NEVER)
    for line in lines:
        fits = line.get("case") == case and all(line.get(name) == value for name, value in about.items())
        if fits and line.get(key) is not None and line.get("engine") in found:
            found[str(line["engine"])] = _short(line[key])
    return found


def config_of(model: str) -> EngineConfig:
    """Only shapes and types matter for a floor."""
    shape = SHAPES[model]
    spec = ModelSpec(
        architecture="Qwen3ForCausalLM",
        model_type="qwen3",
        vocab_size=shape["vocab_size"],
        hidden=shape["hidden_size"],
        layers=shape["num_hidden_layers"],
        heads=shape["num_attention_heads"],
        kv_heads=shape["num_key_value_heads"],
        head_dim=shape["head_dim"],
        intermediate=shape["intermediate_size"],
        norm_eps=1e-6,
        rope=RopeSpec(),
        max_context=CONTEXT,
        windows=(0,) * shape["num_hidden_layers"],
        tied=shape["tie_word_embeddings"],
        qk_norm=True,
    )
    return EngineConfig(
        model_path="",
        model=spec,
        load_format="auto",
        context=CONTEXT,
        seed=0,
        cache=CacheConfig(pages=1, page_size=16),
        schedule=ScheduleConfig(max_running=256, max_queued=None, step_tokens=8192),
        device=DeviceConfig(),
    )


def _device() -> Accelerator:
    found = known(DEVICE)
    assert found is not None, f"{DEVICE} is one of {', '.join(KNOWN)}"
    return found


def _floor_ms(
    model: str, rows: int, read: float | None = None, flops: float | None = None, context: int = 1024
) -> float:
    config, device = config_of(model), _device()
    moved = decode_bytes(config, rows, context) / (read or device.bandwidth)
    return max(moved, decode_operations(config, rows, context) / (flops or device.flops)) * 1e3


def _title(lines: Lines) -> str:
    began = next((line for line in lines if line.get("section") == "run"), {})
    machine = next((line for line in lines if line.get("case") == "machine"), {})
    return (
        f"{machine.get('accelerator') or machine.get('processor')}, {began.get('date')}, commit {began.get('commit')}"
    )


def _ceilings(found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for case, line in found.items():
        if "bytes_per_second" in line:
            yield f"\n- {case}: {line['bytes_per_second'] / 1e12:.3f} TB/s"
        elif "flops" in line:
            yield f"\n- {case}: {line['flops'] / 1e12:.0f} TFLOP/s"
        elif "us" in line:
            yield f"\n- {case}: {line['us']:.2f} us"
    yield "\n"


def _steps(lines: Lines, read: float | None, flops: float | None) -> Iterator[Mapping[str, object]]:
    for line in lines:
        if line.get("case") not in ("decode", "prefill"):
            continue
        share = None
        if read and flops and line["case"] == "decode":
            share = _floor_ms(line["model"], line["rows"], read, flops, line["context"]) / line["ms"]
        elif flops and line.get("tokens_per_second"):
            measured = Accelerator(name="", platform="cuda", memory_bytes=0, free_bytes=0, flops=flops)
            share = line["tokens_per_second"] / prefill_rate(config_of(line["model"]), measured, line["prompt"])
        yield {
            **{key: line[key] for key in ("case", "model", "engine", "rows")},
            "tokens before": line.get("context") or line.get("prompt"),
            **{key: _short(line[key]) for key in ("ms", "spread_ms", "tokens_per_second")},
            "share of the floor": "" if share is None else f"{share:.0%}",
        }


def _kernels(lines: Lines, read: float | None, flops: float | None) -> Iterator[Mapping[str, object]]:
    for line in lines:
        if line.get("section") == "kernels" and "us" in line:
            floor = max(line["bytes"] / read, line["flops"] / flops) if read and flops else None
            yield {
                **{key: line[key] for key in ("case", "model", "shape")},
                "difference": f"{line['difference']:.1e}",
                "right": "yes" if line["is_right"] else "NO",
                "us": _short(line["us"]),
                "torch us": _short(line["torch_us"]),
                "others": ", ".join(f"{key} {_short(line[key])}" for key in OTHERS if key in line),
                "share of the floor": "" if floor is None else f"{floor * 1e6 / line['us']:.0%}",
            }


def _costs(lines: Lines) -> Iterator[Mapping[str, object]]:
    """All products of a layer in one order of summation beside a library's, by number of rows."""
    ours: dict[tuple[str, int], list[float]] = {}
    for line in lines:
        if line.get("case") in ("linear", "gated_linear") and line.get("torch_us"):
            rows = int(line["shape"].partition("x")[0])
            total = ours.setdefault((line["model"], rows), [0.0, 0.0])
            total[0] += line["us"]
            total[1] += line["torch_us"]
    for (model, rows), (own, library) in ours.items():
        yield {
            "model": model,
            "rows": rows,
            "one order, us": _short(own),
            "library, us": _short(library),
            "cost": f"{own / library - 1:+.1%}",
            "at most 5%": "yes" if own <= 1.05 * library else "NO",
        }


def _plain(lines: Lines, section: str) -> Iterator[Mapping[str, object]]:
    for line in lines:
        if line.get("section") == section and line["case"] not in ("took", "failed", "not begun"):
            rest = ", ".join(
                f"{key} {_short(value)}" for key, value in line.items() if key not in ("section", "case", "model")
            )
            yield {"case": line["case"], "model": line.get("model", ""), "result": rest}


def _failed(lines: Lines) -> Iterator[Mapping[str, object]]:
    for line in lines:
        if "error" in line:
            about = " ".join([*line.get("models", ()), *line.get("engines", ()), str(line.get("shape", ""))])
            yield {
                "section": line.get("section"),
                "case": line["case"],
                "of": about,
                "why": str(line["error"])[:300].replace("\n", " "),
            }


def _markdown(rows: Sequence[Mapping[str, object]]) -> Iterator[str]:
    heads = list(rows[0])
    yield f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}\n"
    for row in rows:
        yield f"| {' | '.join(str(row.get(head, '')).replace('|', '/') for head in heads)} |\n"


def _short(value: object) -> str:
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


if __name__ == "__main__":
    main()
    sys.exit()
