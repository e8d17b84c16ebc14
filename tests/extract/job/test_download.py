"""Download: the files that the blocks asked for need, and what to do without a network."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest

from extract.job.download import needed_files
from extract.weights.checkpoint import INDEX_SUFFIX
from tests.extract.verbs import call


def test_download_takes_the_shards_of_the_blocks_asked_for() -> None:
    sizes = dict.fromkeys(
        ["model_index.json", "transformer/config.json", "transformer/a.safetensors", "transformer/b.safetensors",
         "vae/c.safetensors", "assets/demo.png", "README.md", "text_encoder/d.safetensors"], 1
    )  # fmt: skip
    index = {
        "transformer": {
            "patch_embedding.weight": "a.safetensors",
            "blocks.3.x": "a.safetensors",
            "blocks.4.x": "b.safetensors",
        }
    }
    few = needed_files(sizes, index, None, deepest=4)
    assert "transformer/b.safetensors" not in few
    assert "assets/demo.png" not in few
    assert {"transformer/a.safetensors", "vae/c.safetensors", "text_encoder/d.safetensors", "README.md"} <= set(few)
    assert "transformer/b.safetensors" in needed_files(sizes, index, None, deepest=5)
    assert needed_files(sizes, index, ["vae"], deepest=5) == ["README.md", "model_index.json", "vae/c.safetensors"]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, list[str]]:
    """A hub whose transformers come in a shard per 10 blocks; yields repository -> shards that were fetched."""
    fetched: dict[str, list[str]] = {}
    shards = {f"transformer/{number}.safetensors": 10**9 for number in range(6)}
    table = {f"transformer_blocks.{block}.x": f"{block // 10}.safetensors" for block in range(60)}
    index = tmp_path / f"model{INDEX_SUFFIX}"
    index.write_text(json.dumps({"weight_map": table}))
    sizes = {**shards, f"transformer/{index.name}": index.stat().st_size}
    listing = [SimpleNamespace(rfilename=file, size=size) for file, size in sizes.items()]

    def facts(api: object, repository: str, *, revision: str | None, files_metadata: bool) -> SimpleNamespace:
        assert files_metadata  # without, no file has a size
        return SimpleNamespace(sha="f" * 40, siblings=listing)

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", facts)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda repository, file, *, revision: str(index))

    def fetch(repository: str, *, revision: str, allow_patterns: list[str]) -> str:
        fetched[repository] = [file for file in allow_patterns if file.endswith(".safetensors")]
        return repository

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    return fetched


@pytest.mark.parametrize(("model", "shards"), [("cogvideox-t2v-5b", 3), ("aether", 5)])
def test_download_takes_all_blocks_of_a_model_that_runs_them_all(
    hub: dict[str, list[str]],
    model: str,
    shards: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Aether generates geometry with its whole transformer before it is read."""
    assert call("download", f"model={model}", "yes=true") == 0
    main = next(iter(hub))
    assert len(hub[main]) == shards
    hub.clear()
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert call("download", f"model={model}") == 2
    assert "yes=true" in capsys.readouterr().err
    assert not hub


def test_several_models_are_downloaded_by_one_command(
    hub: dict[str, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("download", "model=cogvideox-t2v-5b,pixels", "yes=true") == 1
    assert "pixels has no weights" in capsys.readouterr().err and not hub  # before anything is fetched
    assert call("download", "model=cogvideox-t2v-2b cogvideox-t2v-5b", "yes=true") == 0
    assert len(hub) == 2
    assert call("download", "model=,", "yes=true") == 2
    assert "no model is named" in capsys.readouterr().err


def test_download_without_network_says_what_else_works(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*args: object, **kwargs: object) -> None:
        huggingface_hub.get_session().get(
            "http://127.0.0.1:1/"
        )  # nobody listens there: the error of the library's own client

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", offline)
    assert call("download", "model=wan-t2v-1.3b") == 1
    err = capsys.readouterr().err
    assert "weights=/path/to/folder" in err
    assert "size=tiny" in err
