"""Which positions of a clip a backbone sees, and which of its temporal maps answers which query slot.

Positions count the prepared frames of a clip from 0. A *slot* is the index (0..19) of a query frame {0, 1, 5, ..., 73};
a *row* is one stored temporal map; several slots may share a row (published protocol: windows per family, query index).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from configs.errors import DatasetError, MissingError
from data.dataset.clip import QUERY_POSITIONS

SLOTS = len(QUERY_POSITIONS)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One stored temporal map.

    Attributes:
        window: index of the window whose forward yields it.
        token: index on the backbone's temporal axis of that window.
        source_frames: positions of the clip that the map covers, increasing.
    """

    window: int
    token: int
    source_frames: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class FramePlan:
    """What a backbone is fed and what is kept of its output.

    Attributes:
        windows: positions of the clip in the order in which the backbone gets them, one tuple per forward.
        rows: the maps that are stored.
        row_of_slot: row that answers each of the 20 query slots.
        tokens: length of the backbone's temporal axis for one window.
    """

    windows: tuple[tuple[int, ...], ...]
    rows: tuple[Row, ...]
    row_of_slot: tuple[int, ...]
    tokens: int

    @cached_property
    def positions(self) -> tuple[int, ...]:
        """All positions to decode, each once, increasing."""
        return tuple(sorted({position for window in self.windows for position in window}))

    @cached_property
    def gather(self) -> tuple[tuple[int, ...], ...]:
        """For every window the indices of its frames in the decoded frames, which come in the order of `positions`."""
        place = {position: index for index, position in enumerate(self.positions)}
        return tuple(tuple(place[position] for position in window) for window in self.windows)

    def rows_of_window(self, window: int) -> tuple[list[int], list[int]]:
        """Return (stored rows, tokens of the backbone's temporal axis) that come from one window."""
        chosen = [(index, row.token) for index, row in enumerate(self.rows) if row.window == window]
        return [index for index, _ in chosen], [token for _, token in chosen]


def latent_frames(frames: int) -> int:
    """Return the temporal length of a causal video VAE with factor 4: (frames - 1) / 4 + 1.

    Raises:
        DatasetError: `frames` is not 4k + 1; such a VAE would drop the rest silently.
    """
    if frames < 1 or (frames - 1) % 4:
        raise DatasetError("a video VAE takes 4k + 1 frames", expected="1, 5, 9, ..., 81, ...", found=frames)
    return (frames - 1) // 4 + 1


def image_plan() -> FramePlan:
    """Every query frame is a separate image: 20 rows, one per slot (VLMs and controls)."""
    rows = tuple(Row(window=0, token=slot, source_frames=(p,)) for slot, p in enumerate(QUERY_POSITIONS))
    return FramePlan(windows=(QUERY_POSITIONS,), rows=rows, row_of_slot=tuple(range(SLOTS)), tokens=SLOTS)


def video_plan(windows: Sequence[Sequence[int]]) -> FramePlan:
    """Windows of frames that a causal 4x VAE turns into latents; a slot takes the first window that holds its frame.

    Latent 0 covers the first frame of its window, latent k the frames 4k-3 ... 4k. Only maps that a slot can reach
    become rows, in the order of the slots.

    Raises:
        DatasetError: a window is not 4k + 1 long, or the windows differ in length.
        MissingError: no window holds the frame of a slot.
    """
    frozen = tuple(tuple(window) for window in windows)
    tokens = latent_frames(len(frozen[0]))
    if any(len(window) != len(frozen[0]) for window in frozen):
        raise DatasetError("all windows must be of one length", found=[len(window) for window in frozen])
    rows: list[Row] = []
    row_of_slot: list[int] = []
    for position in QUERY_POSITIONS:
        holders = [index for index, window in enumerate(frozen) if position in window]
        if not holders:
            raise MissingError("no window holds the frame of a query slot", found=position)
        window = frozen[holders[0]]
        token = (window.index(position) + 3) // 4
        covered = window[:1] if token == 0 else window[4 * token - 3 : 4 * token + 1]
        row = Row(window=holders[0], token=token, source_frames=covered)
        if row not in rows:
            rows.append(row)
        row_of_slot.append(rows.index(row))
    return FramePlan(windows=frozen, rows=tuple(rows), row_of_slot=tuple(row_of_slot), tokens=tokens)


def consecutive(frames: int) -> FramePlan:
    """One window of consecutive frames: 81 for Wan, 129 for Open-Sora."""
    return video_plan([range(frames)])


def interleaved(frames: int) -> FramePlan:
    """The paper's window of CogVideoX (49) and Aether (41): frame 0, then every second frame from 1 on.

    The published code also runs frame 0 with the even frames; no query frame lies there, so that clip is never read.
    """
    return video_plan([(0, *range(1, 2 * frames - 2, 2))])


def aligned(frames: int) -> FramePlan:
    """Two windows of consecutive frames that give every slot a map of its own: 0 ... n-1 and 77-n ... 76.

    Both windows start at a multiple of 4, so a query frame is always the first of the four that its latent covers,
    as for Wan; no frame beyond 76 is needed.
    """
    return video_plan([range(frames), range(77 - frames, 77)])
