"""Names that users write, and what the YAML files say of the models behind them."""

from __future__ import annotations

import pytest

from configs import names
from configs.errors import ConfigError
from configs.names import parse_name


def test_kinds_of_models_twins_aliases_and_strangers() -> None:
    assert names.model_kind("wan-t2v-14b") == names.model_kind("wan-t2v-14b-tiny-random") == "vgm"
    assert names.model_kind("qwen3-vl") == names.model_kind("qwen3-vl-8b") == "vlm"
    assert names.model_kind("oracle-depth-rays") == names.model_kind("pixels") == "control"
    assert names.model_kind("my-own-store") == "other"


def test_values_of_unknown_names_are_empty() -> None:
    assert names.model_values("my-own-store") == {}
    assert names.model_values("wan-t2v-14b")["kind"] == "vgm"


def test_aliases_are_resolved_unless_a_store_has_the_name() -> None:
    target = names.alias_names()["wan"]
    assert names.resolve_alias("wan") == target != "wan"
    assert names.resolve_alias("wan", has_store=lambda name: name == "wan") == "wan"
    assert names.resolve_alias(target) == target and names.resolve_alias("mine") == "mine"
    assert "wan" not in names.model_names() and target in names.model_names()


@pytest.mark.parametrize(
    ("name", "twin"),
    [("wan-t2v-14b", "wan-t2v-14b-random"), ("a-tiny", "a-tiny-random"), ("a-random", "a-random")],
)
def test_untrained_twins(name: str, twin: str) -> None:
    assert names.untrained_twin(name) == twin


def test_close_sources_are_twins_and_other_parts() -> None:
    there = ["wan-t2v-1.3b-random", "wan-t2v-1.3b-tiny-random", "wan-t2v-14b", "wan-t2v-1.3b+pixels", "oracle-rays"]
    assert names.close_sources("wan", there) == ["wan-t2v-1.3b-random", "wan-t2v-1.3b-tiny-random"]
    assert names.close_sources("oracle-depth", there) == ["oracle-rays"]
    assert names.close_sources("wan-t2v-14b", there) == []


@pytest.mark.parametrize("name", ["a+b", "a@pca256", "noise~4096", "a+b@zscore"])
def test_joined_names(name: str) -> None:
    assert names.is_joined(name) and names.parse_name(name).joined
    assert str(names.parse_name(name)) == name
    assert not names.is_joined("wan-t2v-1.3b-tiny-random")


@pytest.mark.parametrize("text", ["a b", "a,b", "a+b", " a ,  b "])
def test_models_are_written_in_several_ways(text: str) -> None:
    assert str(names.read_models(text)) == "a+b"
    assert str(names.read_models(text, "pca", 64)) == "a+b@pca64"
    assert str(names.read_models(f"{text.strip()}@zscore")) == "a+b@zscore"


def test_no_models_are_refused() -> None:
    with pytest.raises(ConfigError, match="no models"):
        names.read_models(" , ")


@pytest.mark.parametrize("name", ["a++b", "a+b@", "a+b@lnconct", "+a", "a+noise", "a b", "a+b~0"])
def test_names_that_mean_nothing(name: str) -> None:
    with pytest.raises(ConfigError):
        parse_name(name)


@pytest.mark.parametrize("name", ["a", "a+b", "a+b@zscore", "a+noise~8", "a@random9216", "a+b@pca4", "a+b@l2"])
def test_names_are_read_as_written(name: str) -> None:
    assert str(parse_name(name)) == name
    assert parse_name(name).joined == (name != "a")
