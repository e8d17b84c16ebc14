"""What is fitted: exact, on training clips only, kept with its identity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from cache import FeatureStore
from cache.loading.feature_loader import FeatureLoader
from configs.cli import main
from configs.errors import ConfigError, CorruptionError
from configs.names import parse_name
from fusion.__main__ import VERBS
from fusion.opening import open_source, view_by_name
from fusion.recipe import Choices, Recipe, make_recipe
from fusion.views.fit import Fitter
from fusion.views.ops import LayerNorm, random_projection, resample
from fusion.views.view import FusedView
from tests.fusion.lab import Lab, spec_of

Whole = Callable[[Any, str], torch.Tensor]


def cells(whole: Whole, source: Any, clips: list[str]) -> np.ndarray:
    return torch.cat([whole(source, c).flatten(0, 2) for c in clips]).double().numpy()


def test_zscore_has_mean_0_and_variance_1_over_the_training_clips(lab: Lab, whole: Whole) -> None:
    """One branch at its stored grid, from the store's own statistics; one resampled, from a pass over the clips."""
    lab.pair()
    choices = Choices(dtype="float32")
    view = view_by_name(lab.root, "toy", parse_name("vgm+vlm@zscore"), recipe=make_recipe("zscore"), choices=choices)
    found = cells(whole, view, lab.clips[:3])
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(found.var(0), 1, rtol=1e-3)
    held = cells(whole, view, lab.clips[3:])
    assert np.abs(held.mean(0)).max() > 0.05


@pytest.mark.parametrize("name", ["vgm+vlm@zscore", "vgm+vlm@pca3"])
def test_fits_never_look_at_held_out_clips(lab: Lab, whole: Whole, name: str) -> None:
    """Whatever the held-out clips hold, the fitted values of training clips stay the same, and they aren't read."""
    lab.pair()
    view = open_source(lab.root, "toy", name)
    before = whole(view, "clip0")
    other = Lab(lab.root.parent / "other")
    other.dataset()
    for source, spec in (
        ("vgm", spec_of("dit", grid=(6, 8), channels=12)),
        ("vlm", spec_of("llm", block=22, channels=8)),
    ):
        other.store(source, spec, written=[0, 1, 2])  # the held-out clips have no features at all
    assert torch.equal(before, whole(open_source(other.root, "toy", name), "clip0"))


def test_principal_directions_are_those_of_an_exact_pca(lab: Lab, whole: Whole) -> None:
    store = lab.store("vgm", spec_of("dit", channels=12, dtype="float32"))
    (array,) = store.arrays.values()
    recipe = Recipe(normalise="layernorm", project="pca", fit_rows=20, fit_cells=10_000)
    train = lab.clips[:3]
    normalise = LayerNorm(1e-6)
    projection = Fitter("", train, recipe).principal(store, array, array.grid, normalise, 4)
    seen = np.concatenate([normalise(whole(store, c).flatten(0, 2)).numpy() for c in train]).astype(np.float64)
    exact = PCA(4).fit(seen)
    found = projection(torch.from_numpy(seen).float()).numpy()
    expected = exact.transform(seen)
    scale = np.sqrt(4 / exact.explained_variance_.sum())
    signs = np.sign((found * expected).sum(0))
    np.testing.assert_allclose(found, expected * scale * signs, atol=2e-4)
    assert found.var(0, ddof=1).mean() == pytest.approx(1, rel=1e-4)


def test_pca_on_a_sample_of_cells_is_close(lab: Lab, whole: Whole) -> None:
    """A few maps and cells of each clip, on a coarser grid, explain nearly what all cells would."""
    store = lab.store("vgm", spec_of("dit", grid=(16, 16), channels=6, dtype="float32"))
    (array,) = store.arrays.values()
    sampled = Recipe(project="pca", fit_rows=4, fit_cells=300)
    projection = Fitter("", lab.clips, sampled).principal(store, array, (8, 8), LayerNorm(1e-6), 3)
    seen = torch.cat([LayerNorm(1e-6)(resample(whole(store, c), (8, 8)).flatten(0, 2)) for c in lab.clips])
    directions = projection.matrix.double().numpy()
    directions /= np.linalg.norm(directions, axis=0)
    kept = (seen.double().numpy() @ directions).var(0).sum()
    assert kept > 0.98 * PCA(3).fit(seen.double().numpy()).explained_variance_.sum()


@pytest.mark.parametrize(
    ("name", "width"), [("vgm@pca4", 4), ("vgm@random4", 4), ("vgm~4", 4), ("vgm@random20", 20), ("vgm~20", 20)]
)
def test_one_model_is_brought_to_another_width(lab: Lab, whole: Whole, name: str, width: int) -> None:
    """What probes of equal width read: the command records it, its name opens it, and a loader gets the same values."""
    store = lab.store("vgm", spec_of("dit", channels=12, dtype="float32"))
    words = ["fuse", f"model={name}", "dataset=toy", f"root={lab.root}"]
    assert main("fusion", "", VERBS, words) == 0
    view = open_source(lab.root, "toy", name)
    assert isinstance(view, FusedView) and view.source == name and view.clips == lab.clips and view.missing() == []
    (array,) = view.arrays.values()
    (own,) = store.arrays.values()
    assert array.channels == width and array.name == own.name and array.row_of_slot == own.row_of_slot

    normalised = {c: LayerNorm(1e-6)(whole(store, c)) for c in lab.clips}
    if "pca" in name:
        recipe = Recipe(project="pca", width=width)
        project = Fitter("", lab.clips[:3], recipe).principal(store, own, own.grid, LayerNorm(1e-6), width)
    else:
        project = random_projection(12, width, 0)
    for clip_id in lab.clips:
        expected = project(normalised[clip_id].flatten(0, 2)).view(20, 4, 6, width)
        torch.testing.assert_close(whole(view, clip_id), expected, atol=1e-5, rtol=1e-5)
    items = [(clip_id, array.name, [0, 19]) for clip_id in lab.clips]
    (batch,) = FeatureLoader(view.branch_reads(), items, len(items), shuffle=False)
    torch.testing.assert_close(batch["features"].fuse(), view.read(items))

    assert (
        main("fusion", "", VERBS, ["fuse", f"model={name}", "dataset=toy", "materialise=true", f"root={lab.root}"]) == 0
    )
    written = open_source(lab.root, "toy", name)
    assert isinstance(written, FeatureStore) and written.fingerprint == view.fingerprint
    assert torch.equal(whole(written, "clip4"), whole(view, "clip4"))


def test_one_model_is_brought_to_another_grid(lab: Lab, whole: Whole) -> None:
    store = lab.store("vgm", spec_of("dit", grid=(6, 8), channels=12, dtype="float32"))
    assert main("fusion", "", VERBS, ["fuse", "model=vgm@concat", "dataset=toy", "grid=3x4", f"root={lab.root}"]) == 0
    view = open_source(lab.root, "toy", "vgm@concat")
    expected = whole(store, "clip4").view(20, 3, 2, 4, 2, 12).mean((2, 4))
    torch.testing.assert_close(whole(view, "clip4"), expected)


def test_fits_are_kept_and_belong_to_their_training_clips(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.pair()
    first = open_source(lab.root, "toy", "vgm+vlm@pca3")
    files = sorted((lab.root / "features/toy").glob("*/fitted/*.safetensors"))
    assert [path.parent.parent.name for path in files] == ["vgm", "vlm"]
    with monkeypatch.context() as patch:
        patch.setattr(np.linalg, "eigh", lambda *args: pytest.fail("fitted again"))
        assert open_source(lab.root, "toy", "vgm+vlm@pca3").fingerprint == first.fingerprint
    fewer = open_source(lab.root, "toy", "vgm+vlm@pca3", train_clips=lab.clips[:2])
    assert fewer.fingerprint != first.fingerprint
    assert len(sorted((lab.root / "features/toy").glob("*/fitted/*.safetensors"))) == 4
    data = bytearray(files[0].read_bytes())
    data[-5] ^= 1
    files[0].write_bytes(bytes(data))
    with pytest.raises(CorruptionError, match="not the one that was written"):
        open_source(lab.root, "toy", "vgm+vlm@pca3")


def test_impossible_fits_are_refused(lab: Lab) -> None:
    lab.pair()
    with pytest.raises(ConfigError, match="fewer channels"):
        open_source(lab.root, "toy", "vgm+vlm@pca9")
    with pytest.raises(ConfigError, match="no"):
        open_source(lab.root, "toy", "vgm+vlm@zscore", train_clips=[])


def test_noise_is_normal_and_the_same_each_time(lab: Lab, whole: Whole) -> None:
    lab.store("vgm", spec_of("dit", grid=(16, 16), channels=4))
    view = open_source(lab.root, "toy", "vgm+noise~64@concat")
    noise = whole(view, "clip0")[..., 4:]
    assert torch.equal(noise, whole(open_source(lab.root, "toy", "vgm+noise~64@concat"), "clip0")[..., 4:])
    assert noise.mean().abs() < 0.01 and noise.std().sub(1).abs() < 0.01
    assert (noise.abs() > 3).float().mean().item() == pytest.approx(0.0027, abs=0.001)
    others = [whole(view, "clip1")[..., 4:], noise.roll(1, 0), noise.roll(1, 3)]
    for other in others:
        assert abs(torch.corrcoef(torch.stack([noise.flatten(), other.flatten()]))[0, 1]) < 0.01


def test_random_projection_keeps_lengths_and_angles(lab: Lab, whole: Whole) -> None:
    store = lab.store("vgm", spec_of("dit", channels=12))
    wide = whole(open_source(lab.root, "toy", "vgm@random4096"), "clip0").flatten(0, 2)[:50]
    narrow = LayerNorm(1e-6)(whole(store, "clip0").flatten(0, 2))[:50]
    scale = 4096 / 12
    torch.testing.assert_close(wide @ wide.T / scale, narrow @ narrow.T, atol=1.5, rtol=0.1)
