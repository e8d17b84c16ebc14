from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from configs.errors import ConfigError
from configs.loader import CONFIG_FOLDER, known_names, load_named, resolve
from data.rooms.config import RoomsConfig
from data.rooms.source import RoomsSource


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"camera": "walk", "mode": "tunnel"}, "camera=walk needs a room"),
        ({"camera": "tunnel"}, "camera=tunnel needs a tunnel"),
        ({"mode": "flip"}, "clips_per_room=2"),
        ({"mode": "tunnel_pair", "clips_per_room": 2}, "256 clips"),
        ({"portrait_prob": 0.5}, "height and width to differ"),
        ({"vd": 0.5}, "vd means something only in mode=tunnel"),
        ({"equal_size": True}, "equal_size means something only in mode=tunnel_pair"),
    ],
)
def test_contradictions_are_refused_with_a_way_out(values: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        RoomsSource(RoomsConfig(**values))  # type: ignore[arg-type]
    assert caught.value.fix


@pytest.mark.parametrize(
    "override",
    [
        "vd=2",
        "clips=0",
        "texture=-1",
        "mode=house",
        "camera=drone",
        "jpeg_quality=101",
        "fov=200",
        "seed=-1",
        "height=3",
    ],
)
def test_values_out_of_range_are_refused(override: str) -> None:
    key, value = override.split("=")
    with pytest.raises(ConfigError, match=key):
        resolve(RoomsConfig, [], {key: value})


def test_every_option_says_what_it_means() -> None:
    assert all(field.metadata.get("help") for field in fields(RoomsConfig))


@pytest.mark.parametrize("preset", known_names("dataset/rooms"))
def test_presets_are_valid_and_say_what_they_are_for(preset: str) -> None:
    RoomsSource(resolve(RoomsConfig, [load_named("dataset/rooms", preset)], {}))
    text = Path(CONFIG_FOLDER / "dataset" / "rooms" / f"{preset}.yaml").read_text(encoding="utf-8")
    assert text.startswith("# ")
