"""Which files run on a trip: what the recorder counts, and that the page on the architecture shows its output."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks.trips import JOURNEYS, Recorder, Trip, listing

ROOT = Path(__file__).parents[2]
MOST = 15
"""Files of one trip, the shared ground aside."""

HELPER = """
def help():
    return 1

def end():
    return 2
"""
CARRIER = """
import threading
from toy_helper import end, help

class Cart:
    def carry(self, inner=True):
        help()
        if inner:
            load()

def load():
    import toy_store
    toy_store.put()

def rows():
    yield help()
    yield help()

def finish():
    end()

def threaded():
    thread = threading.Thread(target=load)
    thread.start()
    thread.join()
"""
STORE = "put = lambda: 3"


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, text in (("toy_helper", HELPER), ("toy_cart", CARRIER), ("toy_store", STORE)):
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    spec = importlib.util.spec_from_file_location("toy_cart", tmp_path / "toy_cart.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def recorded(folder: Path, trips: list[Trip], run: Callable[[], object]) -> dict[str, set[str]]:
    recorder = Recorder(trips, folder)
    before = sys.getprofile(), threading.getprofile()
    sys.setprofile(recorder)
    threading.setprofile(recorder)
    try:
        run()
    finally:
        sys.setprofile(before[0])
        threading.setprofile(before[1])
    return recorder.files


CARRY = Trip("carry", ("toy_cart.py:Cart.carry",))
LOAD = Trip("load", ("toy_cart.py:load",))


def test_the_first_call_of_a_carrier_is_not_on_the_way(tmp_path: Path, toy: ModuleType) -> None:
    cart = toy.Cart()
    assert recorded(tmp_path, [CARRY], cart.carry) == {"carry": set()}
    twice = recorded(tmp_path, [CARRY], lambda: (cart.carry(), cart.carry()))
    assert twice == {"carry": {"toy_cart.py", "toy_helper.py", "toy_store.py"}}
    once = recorded(tmp_path, [Trip("finish", ("toy_cart.py:finish",), once=True)], toy.finish)
    assert once == {"finish": {"toy_cart.py", "toy_helper.py"}}


def test_what_runs_counts_for_the_innermost_carrier(tmp_path: Path, toy: ModuleType) -> None:
    cart = toy.Cart()
    found = recorded(tmp_path, [CARRY, LOAD], lambda: (cart.carry(), cart.carry(), toy.finish()))
    assert found == {"carry": {"toy_cart.py", "toy_helper.py"}, "load": {"toy_cart.py", "toy_store.py"}}
    first = recorded(tmp_path, [CARRY, LOAD], lambda: (cart.carry(inner=False), cart.carry()))
    assert first == {"carry": {"toy_cart.py", "toy_helper.py"}, "load": set()}  # the first load counts for no trip


def test_generators_and_threads_carry_too(tmp_path: Path, toy: ModuleType) -> None:
    rows = Trip("rows", ("toy_cart.py:rows",))
    found = recorded(tmp_path, [rows, LOAD], lambda: (list(toy.rows()), toy.finish(), toy.threaded(), toy.threaded()))
    assert found == {"rows": {"toy_cart.py", "toy_helper.py"}, "load": {"toy_cart.py", "toy_store.py"}}


def test_imports_and_files_from_elsewhere_are_not_counted(tmp_path: Path, toy: ModuleType) -> None:
    toy.Cart().carry()
    sys.modules.pop("toy_store")
    once = Trip("load", ("toy_cart.py:load",), once=True)
    assert recorded(tmp_path, [once], toy.load) == {"load": {"toy_cart.py", "toy_store.py"}}
    (tmp_path / "toy_store.py").write_text("from toy_helper import end as put")
    sys.modules.pop("toy_store")
    assert recorded(tmp_path, [once], toy.load) == {"load": {"toy_cart.py", "toy_helper.py"}}
    assert recorded(tmp_path / "else", [once], toy.load) == {"load": set()}


def test_the_listing_leaves_the_shared_ground_out_of_the_count() -> None:
    found = listing({"a row": {"cache/b.py", "cache/a.py", "configs/files.py"}})
    assert (
        found
        == "- **a row**: 2 files\n  `cache/a.py`, `cache/b.py`\n- shared ground, not counted: `configs/files.py`\n"
    )


def test_every_carrier_exists() -> None:
    for trip in (trip for journey in JOURNEYS for trip in journey.trips):
        for carrier in trip.carriers:
            file, name = carrier.split(":")
            assert f"def {name.rpartition('.')[2]}(" in (ROOT / file).read_text(encoding="utf-8"), carrier


@pytest.mark.full
def test_the_page_on_the_architecture_shows_what_runs() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    stated = page.split("<!-- trips -->\n")[1].split("<!-- end of trips -->")[0].strip()
    command = [sys.executable, "-m", "benchmarks.trips"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    count = re.compile(r"^- \*\*(.+)\*\*: (\d+) files$", re.MULTILINE)
    limits, found = ({title: int(n) for title, n in count.findall(text)} for text in (stated, run.stdout))
    assert limits.keys() == found.keys()
    assert {title: n for title, n in found.items() if n > min(limits[title], MOST)} == {}
    assert run.stdout.strip() == stated, "`python -m benchmarks.trips` prints what the page must show"
