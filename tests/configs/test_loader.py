"""Typed configuration: layers, overrides, checks and messages."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from configs.errors import ConfigError
from configs.identity import ABSENT, canonical_json, differences, digest
from configs.loader import closest, load_named, parse_overrides, read_yaml, resolve, to_yaml
from configs.options import as_typed, inline, option, options_of


@dataclasses.dataclass
class Inner:
    rate: float = option(0.5, "a share", minimum=0, maximum=1)
    kind: str = option("a", "which", choices=("alpha", "beta", "a"))


@dataclasses.dataclass
class Config:
    name: str = option(help="must be given")
    seed: int = option(0, "a seed", minimum=0)
    limit: int | None = option(None, "or none")
    layers: list[int] = option(help="blocks", factory=lambda: [1, 2], minimum=1)
    flag: bool = option(False, "on or off")
    inner: Inner = dataclasses.field(default_factory=Inner)


def make(**overrides: str) -> Config:
    return resolve(Config, [], {"name": "x", **{k.replace("__", "."): v for k, v in overrides.items()}})


def test_defaults_layers_and_overrides() -> None:
    config = resolve(Config, [{"name": "y", "inner": {"rate": 0.1}}, {"seed": 4}], {"seed": "5", "inner.kind": "beta"})
    assert config == Config(name="y", seed=5, inner=Inner(0.1, "beta"))


def test_text_is_kept_letter_for_letter() -> None:
    for text in ("0012", "1e3", "yes", "a=b", "[x]", " ", "2026-01-01", "007"):
        assert make(name=text).name == text


def test_texts_in_lists_are_kept_letter_for_letter() -> None:
    @dataclasses.dataclass
    class Clips:
        clips: list[str] = option(help="ids", factory=list)

    for text in ("007", "1e3", "93456789e012", "yes", "1_000", "2026-01-01", "null", "t:502", "0.50"):
        assert resolve(Clips, [], {"clips": f"{text},b"}).clips == [text, "b"]
    assert resolve(Clips, [], {"clips": '["a b", c]'}).clips == ["a b", "c"]
    assert resolve(Clips, [], {"clips": ""}).clips == []


def test_lists_and_none() -> None:
    assert (
        make(layers="3,4,5").layers == [3, 4, 5] and make(layers="[6]").layers == [6] and make(layers="7").layers == [7]
    )
    assert make(limit="null").limit is None and make(limit="none").limit is None and make(limit="3").limit == 3
    assert make(flag="true").flag is True


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"sed": "1"}, "did you mean seed"),
        ({"inner__rat": "1"}, r"did you mean inner\.rate"),
        ({"inner": "1"}, "group of keys"),
        ({"seed": "-1"}, "at least 0"),
        ({"seed": "1.5"}, "wrong type for seed"),
        ({"seed": "one"}, "wrong type for seed"),
        ({"inner__rate": "1.01"}, "0 to 1"),
        ({"inner__rate": ".nan"}, "finite"),
        ({"inner__rate": ".inf"}, "finite"),
        ({"inner__kind": "alfa"}, "did you mean alpha"),
        ({"layers": "1,0"}, "out of range"),
        ({"layers": "a"}, "wrong type"),
        ({"flag": "maybe"}, "wrong type"),
        ({"name": "${seed}"}, "interpolation"),
        ({"layers": "[1"}, "can't read the value of layers"),
        ({"seed": "null"}, "wrong type"),
    ],
)
def test_refusals(overrides: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**overrides)


def test_mandatory_values() -> None:
    with pytest.raises(ConfigError, match=r"name must be given(.|\n)*add name=\.\.\."):
        resolve(Config, [], {})


def test_yaml_layers_are_checked_too(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown key 'nam'"):
        resolve(Config, [{"nam": 1}], {})
    with pytest.raises(ConfigError, match="interpolation"):
        resolve(Config, [{"name": "${oc.env:HOME}"}], {})
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ConfigError, match="key: value"):
        read_yaml(tmp_path / "list.yaml")
    (tmp_path / "broken.yaml").write_text("a: [1\n")
    with pytest.raises(ConfigError, match=r"broken\.yaml"):
        read_yaml(tmp_path / "broken.yaml")
    with pytest.raises(ConfigError, match="no such configuration file"):
        read_yaml(tmp_path / "absent.yaml")


def test_nothing_is_evaluated(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    (tmp_path / "evil.yaml").write_text(f"a: !!python/object/apply:pathlib.Path.touch ['{marker}']\n")
    with pytest.raises(ConfigError):
        read_yaml(tmp_path / "evil.yaml")
    assert not marker.exists()


def test_names() -> None:
    with pytest.raises(ConfigError, match="unknown preset 'nan'"):
        load_named("dataset/rooms", "nan", kind="preset")
    with pytest.raises(ConfigError):
        load_named("dataset/rooms", "../rooms/ci")
    assert closest("zzz", ["b", "a"]) == "known: a, b" and closest("x", []) == "none are known"


def test_overrides_syntax() -> None:
    assert parse_overrides(["a=1", "b=c=d", "a=2"]) == {"a": "2", "b": "c=d"}
    for bad in ("a", "=1", "--a=1"):
        with pytest.raises(ConfigError):
            parse_overrides([bad])


def test_round_trip_through_yaml(tmp_path: Path) -> None:
    config = make(seed="3", layers="4")
    (tmp_path / "c.yaml").write_text(to_yaml(config))
    assert resolve(Config, [read_yaml(tmp_path / "c.yaml")], {}) == config


def test_every_option_has_a_meaning() -> None:
    assert [o.key for o in options_of(Config)][-2:] == ["inner.rate", "inner.kind"]
    assert all(o.help for o in options_of(Config))


def test_identity() -> None:
    assert canonical_json({"b": 1.0, "a": (1, "é", None, True)}) == '{"a":[1,"é",null,true],"b":1}'
    assert digest({"a": 1}) == digest({"a": 1.0}) != digest({"a": 2})
    found = differences({"a": {"x": 1, "y": 2}, "b": 1}, {"a": {"x": 1, "y": 3}, "c": None})
    assert [(d.key, d.old, d.new) for d in found] == [("a.y", 2, 3), ("b", 1, ABSENT), ("c", ABSENT, None)]
    assert str(found[0]) == "a.y: 2 -> 3"
    for bad in (float("nan"), object(), {1, 2}):
        with pytest.raises((ValueError, TypeError)):
            canonical_json(bad)


@dataclasses.dataclass(frozen=True)
class Part:
    """A part whose keys stand beside those of the whole."""

    depth: int = option(3, "how deep", minimum=0)
    inner: Inner = dataclasses.field(default_factory=Inner)


@dataclasses.dataclass(frozen=True)
class LargerPart(Part):
    """One of the classes that may stand in its place."""

    width: int = option(help="how wide")


@dataclasses.dataclass(frozen=True)
class Whole:
    """Frozen, of parts."""

    name: str = option("x", "its name")
    part: Part = inline(Part)


def test_parts_are_typed_without_prefix_and_kept_apart() -> None:
    start = Whole(part=LargerPart())
    assert [o.key for o in options_of(start)] == ["name", "depth", "inner.rate", "inner.kind", "width"]
    assert [o.path for o in options_of(Whole)] == ["name", "part.depth", "part.inner.rate", "part.inner.kind"]
    config = resolve(start, [{"inner": {"rate": 0.25}, "depth": 1}], {"depth": "2", "width": "4"})
    assert config == Whole("x", LargerPart(2, Inner(0.25, "a"), 4)) and start == Whole(part=LargerPart())
    assert to_yaml(config) == "name: x\ndepth: 2\ninner:\n  rate: 0.25\n  kind: a\nwidth: 4\n"
    assert resolve(start, [as_typed(config)], {}) == config


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({}, "width must be given"),
        ({"width": "1", "depth": "-1"}, "depth is out of range"),
        ({"width": "wide"}, "wrong type for width"),
        ({"width": "1", "part.depth": "1"}, "unknown key 'part.depth'"),
        ({"width": "1", "inner": "1"}, "inner is a group of keys"),
    ],
)
def test_wrong_values_of_parts_are_named_as_typed(overrides: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(Whole(part=LargerPart()), [], overrides)


def test_parts_must_not_share_a_key() -> None:
    @dataclasses.dataclass(frozen=True)
    class Twice:
        depth: int = option(1, "how deep")
        part: Part = inline(Part)

    with pytest.raises(TypeError, match="depth"):
        options_of(Twice)
