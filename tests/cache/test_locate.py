"""Where stores lie, and how one is found by dataset, source and fingerprint."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cache import find_stores, locate_store, store_path
from cache.format.layout import commit_name
from configs import commands
from configs.errors import MissingError, StoreError
from tests.stores import make_spec, make_store

SPEC = make_spec()


def test_places(tmp_path: Path) -> None:
    one, two = {"prompt": ""}, {"prompt": "a room"}
    with pytest.raises(MissingError, match="no store at all"):
        locate_store(tmp_path, "rooms", "toy")
    paths = [store_path(tmp_path, "rooms", "toy", fingerprint) for fingerprint in (one, two)]
    assert len(paths[0].name) == 12 and paths[0].parts[-4:-1] == ("features", "rooms", "toy")
    make_store(paths[0], [SPEC], 1, fingerprint=one)
    assert locate_store(tmp_path, "rooms", "toy") == locate_store(tmp_path, None, None) == paths[0]
    make_store(paths[1], [SPEC], 1, fingerprint=two)
    assert find_stores(tmp_path, "rooms") == sorted(paths)
    with pytest.raises(StoreError, match="several feature stores fit") as caught:
        locate_store(tmp_path, "rooms", "toy")
    assert all(path.name in str(caught.value) for path in paths)
    assert locate_store(tmp_path, "rooms", "toy", paths[1].name[:5]) == paths[1]
    assert locate_store(tmp_path, None, None, str(paths[1])) == paths[1]
    with pytest.raises(MissingError, match=paths[0].name):
        locate_store(tmp_path, "rooms", "other")


def test_a_model_without_a_store_is_told_its_untrained_twin(tmp_path: Path) -> None:
    for source in ("cogvideox-t2v-2b-tiny-random", "oracle-depth-rays", "cogvideox-t2v-2b+pixels"):
        folder = tmp_path / "features" / "rooms" / source / "0123"
        folder.mkdir(parents=True)
        (folder / "store.json").write_text("{}")
        (folder / "commits").mkdir()
        (folder / "commits" / commit_name(0, 0)).touch()
    for asked in ("cogvideox", "cogvideox-t2v-2b"):
        with pytest.raises(
            MissingError, match=r"fix: +name one that is there: cogvideox-t2v-2b-tiny-random \(untrained\)$"
        ):
            locate_store(tmp_path, "rooms", asked)
    with pytest.raises(MissingError, match=r"that is there: oracle-depth-rays$"):
        locate_store(tmp_path, "rooms", "oracle")
    with pytest.raises(MissingError, match=f"{re.escape(commands.extract('run'))} model="):
        locate_store(tmp_path, "rooms", "wan-t2v-14b")


def test_a_store_without_features_is_no_candidate(tmp_path: Path) -> None:
    """A model that could not be run, or a killed job, leaves one; nothing becomes ambiguous by it."""
    empty, full = ({"prompt": text} for text in ("", "a room"))
    paths = [store_path(tmp_path, "rooms", "toy", fingerprint) for fingerprint in (empty, full)]
    make_store(paths[0], [SPEC], 1, fingerprint=empty, written=[])
    with pytest.raises(MissingError, match=f"only stores without features: rooms/toy/{paths[0].name}"):
        locate_store(tmp_path, "rooms", "toy")
    make_store(paths[1], [SPEC], 1, fingerprint=full)
    assert locate_store(tmp_path, "rooms", "toy") == locate_store(tmp_path, None, None) == paths[1]
    assert find_stores(tmp_path) == [paths[1]]
    assert find_stores(tmp_path, empty=True) == sorted(paths)
    assert locate_store(tmp_path, "rooms", "toy", paths[0].name[:6]) == paths[0]  # named, to inspect or remove it
    assert locate_store(tmp_path, None, None, str(paths[0])) == paths[0]
