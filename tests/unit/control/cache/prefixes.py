"""What a cache should find, by looking at all that it holds."""

Prefix = tuple[str, tuple[int, ...]]  # salt, tokens: whole pages, or with a tail behind them


def most_common(model: dict[Prefix, int], size: int, salt: str, start: int, tokens: tuple[int, ...]) -> int:
    """How much of tokens[start:], less than a page, stands in the page behind tokens[:start] of any prefix."""
    counts = [0]
    for other, prefix in model:
        if other == salt and prefix[:start] == tokens[:start] and start < len(prefix) <= start + size:
            count = 0
            while start + count < min(len(prefix), len(tokens)) and prefix[start + count] == tokens[start + count]:
                count += 1
            counts.append(count)
    return max(counts)
