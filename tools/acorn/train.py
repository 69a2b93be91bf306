"""Train acorn: `python -m tools.acorn.train --minutes 60`.

A run keeps its state in `--state` and goes on from it; `--start FOLDER` begins with the weights of a checkpoint
folder instead. The step size follows the time spent: it rises, stays, and falls to zero at the end of `--minutes`.
"""

import argparse
import ctypes
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from tokenizers import Tokenizer
from torch import Tensor

from tools.acorn.checkpoint import load_weights, save_weights
from tools.acorn.crew import Crew, Piece
from tools.acorn.exam import SPOKEN, examination_draw
from tools.acorn.mix import training_draw
from tools.acorn.model import Acorn, Shape
from tools.acorn.muon import Muon
from tools.acorn.packing import NOT_LEARNED, batches, fresh_seed
from tools.acorn.tokenizer import name_pieces


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run was asked."""

    folder: Path
    state: Path
    start: Path | None
    minutes: float
    piece: int
    pieces: int
    workers: int
    lengths: list[int]
    rate: float
    matrix_rate: float
    fall: float
    seed: int
    device: str
    compiles: bool
    look_minutes: float
    save_minutes: float


def keep_memory() -> None:
    """Let glibc keep what it freed: else a third of the time on a CPU goes into page faults."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        for option, value in ((-4, 0), (-1, 2**31 - 1), (-2, 2**27)):  # mmap_max, trim_threshold, top_pad
            libc.mallopt(option, value)


def rate_at(spent: float, step: int, fall: float) -> float:
    """The share of the full step size, after this share of the time."""
    rise = min(1.0, (step + 1) / 100)
    return rise * max(0.01, min(1.0, (1 - spent) / fall))


class Run:
    """A model in training, its optimizers and a slow mean of its weights. Owned by `main`."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        torch.manual_seed(plan.seed)
        self.tokenizer = Tokenizer.from_file(str(plan.folder / "tokenizer.json"))
        self.pieces = name_pieces(self.tokenizer)
        self.model = Acorn(Shape()).to(plan.device)
        matrices = [p for name, p in self.model.named_parameters() if p.ndim == 2 and name.startswith("layers")]
        others = [p for name, p in self.model.named_parameters() if p.ndim == 1 or not name.startswith("layers")]
        self.muon = Muon(matrices, lr=plan.matrix_rate)
        self.adam = torch.optim.AdamW(others, lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.0)
        self.step, self.seconds, self.tokens = 0, 0.0, 0
        if plan.state.exists():
            self._load(torch.load(plan.state, map_location=plan.device))
        elif plan.start is not None:
            self.model.load_state_dict(load_weights(plan.start))
            self.mean = self._copy()
        else:
            self.mean = self._copy()
        self.crew = Crew(self.model, plan.workers, plan.device, plan.compiles)
        self.muon.run = self.crew.pool.map

    def _copy(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.model.state_dict().items()}

    def _load(self, state: dict[str, object]) -> None:
        self.model.load_state_dict(state["model"])  # type: ignore[arg-type]  # a checkpoint is untyped
        self.muon.load_state_dict(state["muon"])  # type: ignore[arg-type]
        self.adam.load_state_dict(state["adam"])  # type: ignore[arg-type]
        self.mean = state["mean"]  # type: ignore[assignment]
        self.step, self.seconds, self.tokens = state["counts"]  # type: ignore[misc]

    def save(self) -> None:
        """All that a later run needs to go on, put in place at once."""
        state = {
            "model": self.model.state_dict(),
            "muon": self.muon.state_dict(),
            "adam": self.adam.state_dict(),
            "mean": self.mean,
            "counts": (self.step, self.seconds, self.tokens),
        }
        draft = self.plan.state.with_suffix(".tmp")
        self.plan.state.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, draft)
        draft.replace(self.plan.state)

    @property
    def spent(self) -> float:
        """The share of the time that is over."""
        return self.seconds / (self.plan.minutes * 60)

    def learn(self, pieces: Sequence[Piece], prepare: Callable[[], None]) -> float:
        """One step; the loss before it. `prepare` runs meanwhile."""
        share = rate_at(self.spent, self.step, self.plan.fall)
        for optimizer, rate in ((self.muon, self.plan.matrix_rate), (self.adam, self.plan.rate)):
            for group in optimizer.param_groups:
                group["lr"] = rate * share
        count = sum(int((targets != NOT_LEARNED).sum()) for _, targets in pieces)
        losses = self.crew.gradients(pieces, count, prepare)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.muon.step()
        self.adam.step()
        self._follow(min(0.98, 1 - 1 / (self.step + 2)))
        self.step += 1
        self.tokens += sum(tokens.numel() for tokens, _ in pieces)
        return losses

    @torch.no_grad()
    def _follow(self, keep: float) -> None:
        names = list(self.mean)
        current = self.model.state_dict()
        torch._foreach_lerp_([self.mean[name] for name in names], [current[name] for name in names], 1 - keep)

    @torch.no_grad()
    def look(self, count: int = 64) -> dict[str, float]:
        """The share of answers to unseen questions that the mean weights would give exactly.

        Every token of the right answer is the likeliest after those before it: this is greedy decoding, in one pass.
        """
        exam = Acorn(Shape()).to(self.plan.device)
        exam.load_state_dict(self.mean)
        return {task: share_right(exam, self.tokenizer, task, count, self.plan.device) for task in SPOKEN}


def share_right(model: Acorn, tokenizer: Tokenizer, task: str, count: int, device: str) -> float:
    """How many of a task's unseen questions a model answers to the letter."""
    draw, right = examination_draw(3, unseen_wordings=True), 0
    for _ in range(count):
        prompt, answer = SPOKEN[task](draw)
        before = tokenizer.encode(prompt, add_special_tokens=False).ids
        after = tokenizer.encode(answer + "<|im_end|>", add_special_tokens=False).ids
        with torch.autocast(device, torch.bfloat16):
            hidden = model(torch.tensor([before + after[:-1]], device=device))[0, len(before) - 1 :]
            right += model.logits(hidden).argmax(-1).tolist() == after
    return right / count


def train(run: Run) -> None:
    """Steps until the time is over, with a look and a saved state now and then."""
    plan = run.plan
    draw = training_draw(fresh_seed(plan.seed, run.step), run.pieces)
    stream = batches(draw, run.tokenizer, plan.lengths, plan.piece)
    pieces: list[list[Piece]] = []

    def prepare() -> None:
        pieces.append([next(stream) for _ in range(plan.pieces)])

    prepare()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:.1f}%"),
        TimeRemainingColumn(),
    )
    looked = saved = time.monotonic()
    smooth = 0.0
    with Progress(*columns) as progress:
        bar = progress.add_task("acorn", total=plan.minutes * 60, completed=int(run.seconds))
        while run.seconds < plan.minutes * 60:
            begun = time.monotonic()
            loss = run.learn(pieces.pop(), prepare)
            smooth = loss if not smooth else 0.98 * smooth + 0.02 * loss
            ended = time.monotonic()
            run.seconds += ended - begun
            progress.update(bar, completed=run.seconds, description=f"step {run.step} loss {smooth:.3f}")
            if ended - looked > plan.look_minutes * 60 or run.step in (50, 400):
                line = {
                    "step": run.step,
                    "minutes": round(run.seconds / 60, 1),
                    "tokens": run.tokens,
                    "speed": int(run.tokens / run.seconds),
                    "loss": round(smooth, 4),
                }
                print(json.dumps({**line, **{task: round(share, 3) for task, share in run.look().items()}}), flush=True)
                looked = time.monotonic()
            if ended - saved > plan.save_minutes * 60:
                run.save()
                saved = time.monotonic()
    run.save()
    save_weights(run.mean, plan.folder)


def read_plan() -> Plan:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument(
        "--folder", type=Path, default=Path("models/acorn"), help="where the tokenizer is and the weights go"
    )
    parser.add_argument("--state", type=Path, default=Path("/tmp/acorn/state.pt"), help="what a run goes on from")
    parser.add_argument("--start", type=Path, help="begin with the weights of this folder")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--piece", type=int, default=1280, help="tokens that a worker takes at a time")
    parser.add_argument("--pieces", type=int, default=3, help="pieces of a step")
    parser.add_argument("--workers", type=int, default=2, help="threads that each take pieces; one on a GPU")
    parser.add_argument("--lengths", type=int, nargs="+", default=[256, 640], help="of the rows, from short to long")
    parser.add_argument("--rate", type=float, default=3e-3, help="step size of AdamW, for embeddings and norms")
    parser.add_argument("--matrix-rate", type=float, default=1e-2, help="step size of Muon, for the matrices")
    parser.add_argument("--fall", type=float, default=0.4, help="share of the time in which the step size falls")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--compile", dest="compiles", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--look-minutes", type=float, default=4)
    parser.add_argument("--save-minutes", type=float, default=2)
    options = vars(parser.parse_args())
    torch.set_num_threads(1)
    return Plan(**options)


if __name__ == "__main__":
    keep_memory()
    train(Run(read_plan()))
