"""Every video generation model: truncation, taps, noise, batches at tiny size; geometry at full size without memory."""

from __future__ import annotations

import inspect
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from data.dataset.clip import QUERY_POSITIONS
from extract.adapter import Adapter, Tap, Variant
from extract.families import build_adapter
from extract.model import load_model
from extract.video.base import VideoAdapter
from extract.weights.libraries import load_library_model
from tests.extract.pictures import clip, run, taps

MODELS = ["wan-t2v-1.3b", "cogvideox-t2v-2b", "cogvideox-i2v-5b", "aether", "opensora"]
SLOW = [pytest.param(name, marks=pytest.mark.full) for name in ("wan-i2v-14b", "cogvideox-t2v-5b")]
ALL = [*MODELS, *SLOW]
FULL_SIZE = {
    "wan-t2v-1.3b": (20, 30, 52, 1536),
    "wan-t2v-14b": (20, 30, 52, 5120),
    "wan-i2v-14b": (20, 30, 52, 5120),
    "cogvideox-t2v-2b": (11, 30, 45, 1920),
    "cogvideox-t2v-5b": (11, 30, 45, 3072),
    "cogvideox-i2v-5b": (11, 30, 45, 3072),
    "aether": (11, 30, 45, 3072),
    "opensora": (20, 30, 53, 3072),
}
"""Rows kept, grid and width of every model (published protocol)."""


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tiny(tiny_cache):
    """Adapters of tiny twins; latents are kept, so that each clip is encoded once."""

    @cache
    def make(name: str, **choices: Any) -> VideoAdapter:
        variant = Variant(weights="random", size="tiny", cache=tiny_cache, cache_latents=True, **choices)
        adapter = build_adapter(load_model(name), variant)
        assert isinstance(adapter, VideoAdapter)
        return adapter

    return make


@pytest.fixture(scope="module")
def single(tiny):
    """Features of one clip after blocks 2, 4 and 6, with the whole network loaded."""

    @cache
    def features(name: str):
        adapter = tiny(name)
        adapter.load([*taps(adapter, (2, 4, 6)), Tap(name="vae")])
        return run(adapter, [clip(adapter)])

    return features


def block_keys(adapter: Adapter, blocks: tuple[int, ...]) -> list[str]:
    return [tap.key for tap in taps(adapter, blocks)]


@pytest.mark.parametrize("name", ALL)
def test_shapes_and_blocks(tiny, single, name):
    spec, found = tiny(name).spec, single(name)
    for tap in (*taps(tiny(name), (2, 4, 6)), Tap(name="vae")):
        offer = spec.taps[tap.name]
        assert found[tap.key].shape == (1, spec.rows, *offer.grid, offer.channels)
        assert found[tap.key].isfinite().all()
    two, four, six = (found[key] for key in block_keys(tiny(name), (2, 4, 6)))
    assert (two - four).norm() > 0.05 * four.norm()  # an error of one in a block number would show
    assert (four - six).norm() > 0.05 * six.norm()


@pytest.mark.parametrize("name", ALL)
def test_truncated_equals_full(tiny, single, name):
    """Blocks beyond the deepest tap are neither loaded nor run, and the features are the same bits."""
    full = single(name)
    adapter = tiny(name)
    adapter.load(taps(adapter, (2,)))
    (key,) = block_keys(adapter, (2,))
    assert torch.equal(run(adapter, [clip(adapter)])[key], full[key])
    if name not in ("aether", "opensora"):
        network = vars(adapter.network)["_transformer"]
        blocks = network.blocks if hasattr(network, "blocks") else network.transformer_blocks
        assert len(blocks) == 2
        assert network.proj_out is None


@pytest.mark.parametrize("name", ["wan-t2v-1.3b", "cogvideox-i2v-5b"])
def test_the_librarys_own_full_forward_gives_the_same(tiny, name):
    """The same inputs through the library's own loader, all blocks, to the very end."""
    adapter = tiny(name)
    adapter.load(taps(adapter, (3,)))
    mine = vars(adapter.network)["_transformer"]
    calls: list[Any] = []
    handle = mine.register_forward_pre_hook(lambda module, args, kwargs: calls.append((args, kwargs)), with_kwargs=True)
    (key,) = block_keys(adapter, (3,))
    features = run(adapter, [clip(adapter)])[key]
    handle.remove()
    theirs = type(mine).from_pretrained(vars(adapter.network)["_source"].folders["transformer"]).eval()
    blocks = theirs.blocks if hasattr(theirs, "blocks") else theirs.transformer_blocks
    seen: list[Any] = []
    blocks[2].register_forward_hook(lambda module, args, output: seen.append(output))
    args, kwargs = calls[0]
    with torch.inference_mode():
        assert theirs(*args, **kwargs)[0].isfinite().all()
    visual = seen[0][0] if isinstance(seen[0], tuple) else seen[0]
    _, tokens = adapter.spec.frames.rows_of_window(0)
    expected = visual.view(1, adapter.spec.frames.tokens, *adapter.spec.taps["dit"].grid, -1)[:, tokens]
    assert torch.equal(features, expected)


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.full] * (n == MODELS[1])) for n in MODELS] + SLOW)
def test_batches_change_nothing_that_matters(tiny, single, name):
    adapter = tiny(name)
    adapter.load(taps(adapter, (2, 4)))
    both = run(adapter, [clip(adapter, "other", seed=3), clip(adapter)])
    for key in block_keys(adapter, (2, 4)):
        alone = single(name)[key]
        assert (both[key][1] - alone[0]).abs().max() < 2e-5 * alone.abs().max()
        assert (both[key][0] - alone[0]).norm() > 0.05 * alone.norm()


@pytest.mark.parametrize("name", MODELS[:3])
def test_noise_levels_in_one_pass_are_those_of_separate_passes(tiny, single, name):
    adapter = tiny(name)
    adapter.load([*taps(adapter, (2,)), *taps(adapter, (4,), "0.2")])
    both = run(adapter, [clip(adapter)])
    (published,) = block_keys(adapter, (2,))
    assert torch.equal(both[published], single(name)[published])
    weak = next(key for key in both if key != published)
    adapter.load(taps(adapter, (4,), "0.2"))
    assert torch.equal(run(adapter, [clip(adapter)])[weak], both[weak])


def test_noise_follows_seed_and_clip(tiny, single):
    name = "cogvideox-t2v-2b"
    adapter = tiny(name)
    (key,) = block_keys(adapter, (2,))
    adapter.load(taps(adapter, (2,)))
    assert not torch.equal(run(adapter, [clip(adapter, "another")])[key], single(name)[key])
    reseeded = tiny(name, noise_seed=1)
    reseeded.load(taps(reseeded, (2,)))
    assert not torch.equal(run(reseeded, [clip(reseeded)])[key], single(name)[key])
    assert reseeded.identity() != adapter.identity()


@pytest.mark.parametrize("name", ["wan-t2v-1.3b", "cogvideox-t2v-2b", "opensora"])
def test_grid_is_row_major(tiny, name):
    """A change of one cell of the latents shows most in that row, line and column of the first block."""
    adapter = tiny(name)
    adapter.load(taps(adapter, (1,)))
    (key,) = block_keys(adapter, (1,))
    before = run(adapter, [clip(adapter)])[key]
    network = adapter.network
    row, y, x = 7, 4, 2
    token = adapter.spec.frames.rows[row].token
    hidden = network.hidden

    def changed(noisy, *rest):
        noisy = noisy.clone()
        noisy[:, :, token, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2] += 3
        return hidden(noisy, *rest)

    network.hidden = changed  # type: ignore[method-assign]
    try:
        difference = (run(adapter, [clip(adapter)])[key] - before).norm(dim=-1)[0]
    finally:
        del network.hidden
    assert divmod(int(difference.argmax()), difference[0].numel())[0] == row
    assert divmod(int(difference[row].argmax()), difference.shape[2]) == (y, x)


@pytest.mark.parametrize("name", ["wan-t2v-1.3b", "cogvideox-t2v-2b", "opensora"])
def test_a_patch_of_the_picture_is_found_in_its_row_line_and_column(tiny, name):
    """Position code: a patch inverted while one latent lasts. The VAE is causal and sees one cell further around."""
    adapter = tiny(name)
    adapter.load([*taps(adapter, (1,)), Tap(name="vae")])
    height, width = adapter.spec.taps["dit"].grid
    row, y, x = 7, height - 2, 1
    plain = clip(adapter)
    frames = plain.frames.copy()
    tall, wide = frames.shape[1] / height, frames.shape[2] / width
    patch = slice(round(y * tall), round((y + 1) * tall)), slice(round(x * wide), round((x + 1) * wide))
    for position in adapter.spec.frames.rows[row].source_frames:
        frame = frames[adapter.spec.frames.positions.index(position)]
        frame[patch] = 255 - frame[patch]
    before, after = run(adapter, [plain]), run(adapter, [replace(plain, frames=frames)])
    for key, maps in after.items():
        change = (maps - before[key]).norm(dim=-1)[0]
        strength = change.flatten(1).norm(dim=1) / change.norm()
        assert strength[:row].max() < 0.03 < 0.06 < strength[row], key
        fine = change.shape[1] // height  # latents are twice as fine as tokens
        top = np.unravel_index(int(change[row].argmax()), change[row].shape)
        assert abs(top[0] // fine - y) + abs(top[1] // fine - x) <= 1, key


@pytest.mark.parametrize("name", MODELS)
def test_text_beyond_a_tap_changes_nothing_before_it(tiny, single, name):
    """Other text from the third block on: that block's map changes, the second one's holds no token of it."""
    adapter = tiny(name)
    adapter.load(taps(adapter, (2, 3)))
    second, third = block_keys(adapter, (2, 3))
    before = run(adapter, [clip(adapter)])
    seen: list[bool] = []

    def other_text(module, args, kwargs):
        names = list(inspect.signature(module.forward).parameters)
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        text = given["encoder_hidden_states"]
        given["encoder_hidden_states"] = torch.randn(text.shape, generator=torch.Generator().manual_seed(0))
        seen.append(True)
        return (), given

    handle = chain(vars(adapter.network)["_transformer"])[2].register_forward_pre_hook(other_text, with_kwargs=True)
    try:
        after = run(adapter, [clip(adapter)])
    finally:
        handle.remove()
    assert seen
    assert torch.equal(after[second], before[second])
    assert torch.equal(before[second], single(name)[second])
    assert (after[third] - before[third]).norm() > 1e-3 * before[third].norm()


def chain(transformer: Any) -> list[Any]:
    """All blocks in the order in which they run."""
    if hasattr(transformer, "blocks"):
        return list(transformer.blocks)
    return [*transformer.transformer_blocks, *getattr(transformer, "single_transformer_blocks", [])]


def test_aligned_windows_have_a_row_per_slot(tiny_cache, monkeypatch):
    """With a VAE that just keeps the last of four frames, each row is that of its own slot."""
    variant = Variant(weights="random", size="tiny", cache=tiny_cache, temporal="aligned")
    adapter = build_adapter(load_model("cogvideox-t2v-2b"), variant)
    adapter.load([Tap(name="vae")])
    assert isinstance(adapter, VideoAdapter)
    wide = adapter.spec.taps["vae"].channels
    monkeypatch.setattr(
        adapter.network, "encode", lambda video, draws: video[:, :1, ::4, ::8, ::8].expand(-1, wide, -1, -1, -1)
    )
    picture = clip(adapter, size=adapter.spec.input_size)
    maps = run(adapter, [picture])["vae"][0, ..., 0]
    assert adapter.spec.frames.row_of_slot == tuple(range(20))
    last = [0, *(position + 3 for position in QUERY_POSITIONS[1:])]  # of the four frames that begin with the slot's
    at = [adapter.spec.frames.positions.index(position) for position in last]
    expected = torch.from_numpy(picture.frames[at, ::8, ::8, 0].copy()).float() / 127.5 - 1
    torch.testing.assert_close(maps, expected)


def test_paper_protocol_is_another_fingerprint():
    model = load_model("wan-t2v-1.3b")
    for protocol, tokens in (("paper", 226), ("standard", 512)):
        identity = build_adapter(model, Variant(weights="random", protocol=protocol)).identity()
        assert identity["text_tokens"] == tokens
        assert identity["protocol"] == protocol
        assert identity["vae"]["tiled"] == (protocol == "paper")


def test_dtypes_follow_device_and_protocol():
    model = load_model("cogvideox-t2v-5b")
    for choices, compute, stored in [
        ({}, "float32", "bfloat16"),
        ({"device": "cuda:0"}, "bfloat16", "bfloat16"),
        ({"device": "cuda:0", "protocol": "paper"}, "float16", "float16"),
        ({"dtype": "bfloat16"}, "bfloat16", "bfloat16"),
    ]:
        spec = build_adapter(model, Variant(weights="random", **choices)).spec
        assert (spec.compute_dtype, spec.store_dtype) == (compute, stored)


def test_published_encoders_ran_in_float16(tmp_path):
    """Wan's image encoder, and CogVideoX's text encoder, whatever the transformer runs in."""
    for name, part, key in [
        ("wan-i2v-14b", "image_encoder", "image_encoder_dtype"),
        ("cogvideox-t2v-2b", "text_encoder", "text_dtype"),
    ]:
        for protocol in ("paper", "standard"):
            variant = Variant(
                weights="random", size="tiny", protocol=protocol, dtype="bfloat16", cache=str(tmp_path / protocol)
            )
            adapter = build_adapter(load_model(name), variant)
            assert ("float16" in str(adapter.identity().get(key)).split(".")) == (protocol == "paper")
            seen = []

            def spy(cls, folder, seen=seen, load=load_library_model, **options):
                seen.append((folder.name, options["dtype"]))
                return load(cls, folder, **options)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("extract.video.prompt.load_library_model", spy)
                patch.setattr("extract.video.wan.first_frame.load_library_model", spy)
                adapter.load(taps(adapter, (1,)))
            assert ((part, torch.float16) in seen) == (protocol == "paper")


def test_siblings_share_latents(tiny, tiny_cache):
    one, other = tiny("wan-t2v-1.3b"), tiny("wan-t2v-14b")
    assert one.network.vae_digest() == other.network.vae_digest()
    assert one.network.vae_identity() == other.network.vae_identity()


@pytest.mark.parametrize(("name", "protocol"), [("aether", "standard"), ("opensora", "paper")])
def test_latents_with_noise_belong_to_one_clip(name, protocol, tiny_cache):
    """Two clips of the same pixels, as one video under two names: noise follows from the name, cached or not."""
    found = []
    for kept in (True, False):
        variant = Variant(
            weights="random", size="tiny", protocol=protocol, noise_seed=77, cache=tiny_cache, cache_latents=kept
        )
        adapter = build_adapter(load_model(name), variant)
        adapter.load(taps(adapter, (1,)))
        first, key = clip(adapter), block_keys(adapter, (1,))[0]
        found.append([run(adapter, [replace(first, clip_id=each)])[key] for each in ("one", "other")])
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
    assert not torch.equal(found[0][0], found[0][1])


def test_full_size_weights_of_another_generator_are_other_weights(monkeypatch):
    identities = [
        build_adapter(load_model("wan-t2v-1.3b"), Variant(weights="random", device=device, dtype="float32")).identity()
        for device in ("cpu", "cuda:0", "cuda:1")
    ]
    assert identities[0] != identities[1] == identities[2]


def test_cached_prompt_needs_no_text_encoder(tiny, monkeypatch):
    adapter = tiny("cogvideox-t2v-2b")
    adapter.load(taps(adapter, (1,)))
    monkeypatch.setattr("extract.video.prompt.load_library_model", lambda *args, **kwargs: pytest.fail("loaded again"))
    adapter.load(taps(adapter, (1,)))


@pytest.mark.parametrize("name", FULL_SIZE)
def test_full_size_geometry(name, monkeypatch):
    """The real network at the real resolution, without memory: windows, tokens, grid, width."""
    model = load_model(name)
    adapter = build_adapter(model, Variant(weights="random", device="meta", dtype="bfloat16"))
    assert isinstance(adapter, VideoAdapter)
    height, width = adapter.spec.input_size
    latent = (adapter.spec.frames.tokens, height // 8, width // 8)
    monkeypatch.setattr(adapter.network, "encode", lambda video, draws: video.new_empty(1, channels(adapter), *latent))
    level = adapter.spec.schedule.level(model.noise[0])
    assert set(model.paper_blocks.values()) <= set(range(1, adapter.spec.taps["dit"].blocks + 1))
    adapter.load([Tap(name="dit", block=1, noise=level)])
    pixels = torch.empty(1, len(adapter.spec.frames.positions), height, width, 3, dtype=torch.uint8, device="meta")
    inputs = {"pixels": pixels}
    if name == "wan-i2v-14b":
        inputs |= {"condition": pixels[:, 0], "clip": torch.empty(1, 3, 224, 224, device="meta")}
    from extract.adapter import Batch

    (found,) = adapter.forward(Batch(clip_ids=["clip"], inputs=inputs)).values()
    assert tuple(found.shape) == (1, *FULL_SIZE[name])
    assert found.dtype == torch.bfloat16
    assert [*found.shape[2:4]] == model.grid
    assert found.shape[4] == model.width


def channels(adapter: VideoAdapter) -> int:
    """Channels of the clean latents: Aether generates disparity and rays beside the picture."""
    return 56 if adapter.spec.name == "aether" else adapter.spec.taps["vae"].channels


@pytest.mark.parametrize("name", ["wan-t2v-1.3b", "cogvideox-t2v-2b", "opensora"])
def test_full_size_latents(name):
    adapter = build_adapter(load_model(name), Variant(weights="random", device="meta"))
    adapter.load([Tap(name="vae")])
    height, width = adapter.spec.input_size
    pixels = torch.empty(1, len(adapter.spec.frames.positions), height, width, 3, dtype=torch.uint8, device="meta")
    from extract.adapter import Batch

    latents = adapter.forward(Batch(clip_ids=["clip"], inputs={"pixels": pixels}))["vae"]
    assert tuple(latents.shape) == (1, adapter.spec.rows, height // 8, width // 8, 16)
