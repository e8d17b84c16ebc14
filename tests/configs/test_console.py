"""The time left, sizes and durations as a person reads them, and notes where no bar is drawn."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from configs.console import Pace, Progress, format_bytes, format_seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that a test sets."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (45, "45 s"),
        (89.4, "89 s"),
        (90, "2 min"),
        (720, "12 min"),
        (5399, "1 h 30 min"),
        (11100, "3 h 05 min"),
    ],
)
def test_seconds(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (999.6, "1 kB"),
        (4400, "4.4 kB"),
        (999_600, "1 MB"),
        (12e9, "12 GB"),
        (3e15, "3e+03 TB"),
    ],
)
def test_bytes(count: float, text: str) -> None:
    assert format_bytes(count) == text


def test_pace_is_that_of_what_was_counted(clock: list[float]) -> None:
    pace = Pace(10)
    assert pace.left() is None and str(pace) == "0 of 10 clips done"
    clock[0] = 30.0
    pace.count(3)
    assert pace.left() == pytest.approx(70)
    assert str(pace) == "3 of 10 clips done, about 70 s left"
    pace.count(-1)  # a failed pass is taken back
    assert pace.left() == pytest.approx(120)
    pace.count(8)
    assert pace.left() == 0


def test_what_was_done_before_says_nothing_about_the_pace(clock: list[float]) -> None:
    pace = Pace(100, "steps")
    pace.skip(50)
    assert pace.left() is None
    clock[0] = 10.0
    pace.count(10)
    assert pace.left() == pytest.approx(40)
    assert str(pace) == "60 of 100 steps done, about 40 s left"


def test_the_first_clip_waits_for_weights(clock: list[float]) -> None:
    pace = Pace(5, warmup=1)
    clock[0] = 300.0
    pace.count()
    assert pace.left() is None
    clock[0] = 302.0
    pace.count()
    assert pace.left() == pytest.approx(6)
    skipping = Pace(5, warmup=1)
    skipping.skip(2)  # done by an earlier command: the first of this one still waits
    clock[0] = 400.0
    skipping.count()
    assert skipping.left() is None and skipping.measured == 0


def notes(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_notes_come_now_and_then_where_no_bar_is_drawn(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), Progress(10, "rooms", log=logging.getLogger("test"), every=30) as bar:
        for second in range(10, 101, 10):
            clock[0] = float(second)
            bar.advance()
    assert notes(caplog) == [
        "rooms: 3 of 10 clips done, about 70 s left",
        "rooms: 6 of 10 clips done, about 40 s left",
        "rooms: 9 of 10 clips done, about 10 s left",
    ]


def test_the_first_note_comes_soon_if_it_is_worth_it(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    def extract(total: int, seconds: float) -> None:
        clock[0] += 100.0
        with Progress(total, "wan", log=logging.getLogger("test"), every=1e9, warmup=1) as bar:
            for _ in range(total):
                clock[0] += seconds
                bar.advance()

    with caplog.at_level(logging.INFO):
        extract(14, 2.0)  # 10 clips of 2 s are left after the fourth
        extract(13, 2.0)  # 18 s are left
    assert notes(caplog) == ["wan: 4 of 14 clips done, about 20 s left"]


def test_a_terminal_has_the_bar_alone(
    clock: list[float],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with caplog.at_level(logging.INFO), Progress(3, "rooms", log=logging.getLogger("test"), every=0) as bar:
        for _ in range(3):
            clock[0] += 50
            bar.advance()
        bar.note("12 MB/s")
    assert notes(caplog) == []
    assert "rooms" in capsys.readouterr().err


def test_a_quiet_one_only_counts(
    clock: list[float],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for terminal in (False, True):
        monkeypatch.setattr("sys.stderr.isatty", lambda shown=terminal: shown, raising=False)
        log = logging.getLogger("test")
        with caplog.at_level(logging.INFO), Progress(3, "rooms", log=log, every=0, quiet=True) as bar:
            for _ in range(2):
                clock[0] += 50
                bar.advance()
            bar.note("12 MB/s")
        assert bar.pace.done == 2 and bar.pace.left() == 50
    assert notes(caplog) == [] and capsys.readouterr().err == ""


def test_threads_count_together() -> None:
    with Progress(4000, "many") as bar:

        def count() -> None:
            for _ in range(1000):
                bar.advance()

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert bar.pace.done == 4000
