"""The sizes of steps that are captured as graphs: a step is filled up to the next one."""

MOST_PREFILL = 512  # a step of more tokens computes for so long that its launches do not show


def decode_buckets(rows: int) -> list[int]:
    """Numbers of rows that compute one token each, up to all."""
    return _up_to(rows, [1, 2, 4, *range(8, 129, 8), *range(144, 257, 16), *range(288, 4097, 32)])


def prefill_buckets(step_tokens: int) -> list[int]:
    """Numbers of tokens of the steps that also compute prompts."""
    return _up_to(min(step_tokens, MOST_PREFILL), [*range(16, 129, 16), *range(160, 257, 32), *range(320, 513, 64)])


def row_classes(rows: int) -> list[int]:
    """Numbers of rows of the steps that also compute prompts."""
    return _up_to(rows, [8, 64])


def forward_sizes(rows: int, step_tokens: int) -> list[tuple[int, int]]:
    """Rows and tokens of every forward pass that may be a graph."""
    mixed = [(few, tokens) for few in row_classes(rows) for tokens in prefill_buckets(step_tokens)]
    return [*((few, few) for few in decode_buckets(rows)), *mixed]


def bucket_of(buckets: list[int], size: int) -> int | None:
    """The least that holds so many; None: there is none."""
    return next((bucket for bucket in buckets if bucket >= size), None)


def _up_to(most: int, sizes: list[int]) -> list[int]:
    return [*(size for size in sizes if size < most), most]
