"""Words for blocks of a network: how `paper` and `even4` become numbers, for extraction and probes alike."""

from __future__ import annotations


def even_blocks(word: str, total: int) -> list[int] | None:
    """Return the blocks that a word such as `even4` means: evenly spaced, the last one among them.

    Args:
        word: `even` and how many.
        total: blocks of the network.

    Returns:
        Increasing numbers of blocks that have run; None for any other word.
    """
    count = word.removeprefix("even")
    if word == count or not count.isdigit() or int(count) < 1:
        return None
    return sorted({max(1, round(total * (step + 1) / int(count))) for step in range(int(count))})


def scaled_block(block: int, blocks: int, total: int) -> int:
    """Return the block at the same relative depth of a network with `total` instead of `blocks` blocks."""
    return max(1, round(block / blocks * total))
