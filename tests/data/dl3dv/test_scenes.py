"""Which frames of a scene become clips."""

from __future__ import annotations

import hashlib

import numpy as np

from data.dl3dv.scenes import Window, paper_start, windows

SCENES = [hashlib.sha256(bytes([n])).hexdigest() for n in range(200)]


def test_the_published_start_by_hand() -> None:
    scene = "0a1b7c20a92c43c6b8954b1ac909fb2f0fa8b2997b80604bc8bbec80a1cb2da3"
    seed = int(hashlib.md5(scene.encode()).hexdigest()[:8], 16)
    assert paper_start(scene, 350, 150) == np.random.RandomState(seed).randint(0, 200)
    assert windows("paper", scene, 350, 150) == [Window(paper_start(scene, 350, 150), 150)]


def test_the_last_start_is_never_drawn_and_starts_differ() -> None:
    starts = {paper_start(scene, 153, 150) for scene in SCENES}
    assert starts == {0, 1, 2}  # 3 would fit, but the published bound is exclusive
    assert {paper_start(scene, 151, 150) for scene in SCENES} == {0}


def test_short_scenes_are_taken_whole() -> None:
    for rule in ("paper", "first", "all"):
        assert windows(rule, SCENES[0], 150, 150) == [Window(0, 150)]
        assert windows(rule, SCENES[0], 81, 150) == [Window(0, 81)]


def test_first_and_all() -> None:
    assert windows("first", SCENES[0], 340, 150) == [Window(0, 150)]
    assert windows("all", SCENES[0], 340, 150) == [Window(0, 150), Window(150, 150)]
