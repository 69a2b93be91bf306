"""How long a decode step takes, and how fast prompts are read: one engine, one model, every number of rows.

A step is what 128 more tokens take, over 128; a prompt what the first token takes. What takes longest comes last.
"""

from statistics import median

from benchmarks.gpu.engines import PLAYERS, Player, Prompts, prompts
from benchmarks.gpu.stage import Stage, forget, tell, wall_seconds
from benchmarks.gpu.weights import folder_of

ROWS = (1, 8, 64, 256)
REPEATS = 3


def steps(stage: Stage) -> None:
    """`models` and `peers` of the stage name one of each."""
    [model], [name] = stage.models, stage.peers
    folder = folder_of(stage, model)
    player = PLAYERS[name](stage, folder)  # type: ignore[call-arg]  # each is made of these two
    context, more = stage.pick(1024, 16), stage.pick(128, 4)
    long = stage.pick(8192, 64)
    asked = prompts(folder, 1, long)
    player.generate(asked, 1)
    seconds, spread = _repeated(stage, player, asked, 1)
    tell(
        "prefill",
        model=model,
        engine=name,
        rows=1,
        prompt=long,
        ms=seconds * 1e3,
        spread_ms=spread * 1e3,
        tokens_per_second=long / seconds,
    )
    for rows in [rows for rows in ROWS if rows <= (player.most_rows if not stage.is_tiny else 8)]:
        asked = prompts(folder, rows, context)
        player.generate(asked, more + 1)  # compiles and captures what there is
        first, spread = _repeated(stage, player, asked, 1)
        whole, spread_whole = _repeated(stage, player, asked, more + 1)
        tell(
            "decode",
            model=model,
            engine=name,
            rows=rows,
            context=context + more // 2,
            ms=(whole - first) / more * 1e3,
            spread_ms=(spread + spread_whole) / more * 1e3,
            tokens_per_second=rows * more / (whole - first) if whole > first else None,
        )
        tell(
            "prefill",
            model=model,
            engine=name,
            rows=rows,
            prompt=context,
            ms=first * 1e3,
            spread_ms=spread * 1e3,
            tokens_per_second=rows * context / first,
        )
    player.close()
    forget()


def _repeated(stage: Stage, player: Player, asked: Prompts, tokens: int) -> tuple[float, float]:
    seconds = [wall_seconds(lambda: player.generate(asked, tokens)) for _ in range(stage.pick(REPEATS, 1))]
    return median(seconds), (max(seconds) - min(seconds)) / 2
