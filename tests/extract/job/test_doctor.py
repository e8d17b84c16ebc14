"""Doctor: whose weights are on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.extract.verbs import call


def test_doctor_looks_for_weights(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert call("doctor", "model=wan-t2v-1.3b", f"root={tmp_path}") == 0
    out = capsys.readouterr().out
    assert "Wan-AI/Wan2.1-T2V-1.3B-Diffusers" in out
    assert "diffusers" in out


def test_doctor_wants_all_parts_of_a_model(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Aether's VAE and text encoder lie in another repository."""

    def here(repository: str, *parts: str) -> None:
        folder = tmp_path / f"models--{repository.replace('/', '--')}"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text("0" * 40)
        for part in parts:
            (folder / "snapshots" / ("0" * 40) / part).mkdir(parents=True)

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    here("AetherWorldModel/AetherV1", "transformer")
    assert call("doctor", "model=aether", f"root={tmp_path}") == 0
    assert "yes" not in capsys.readouterr().out
    here("zai-org/CogVideoX-5b-I2V", "vae", "text_encoder")
    assert call("doctor", "model=aether", f"root={tmp_path}") == 0
    assert "yes" in capsys.readouterr().out
