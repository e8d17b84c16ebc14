from __future__ import annotations

import io
import multiprocessing
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from configs.errors import MissingError
from configs.identity import canonical_json, digest
from configs.loader import load_named, resolve
from data.dataset.check import check_clip
from data.dataset.clip import QUERY_POSITIONS, Clip, ClipSource
from data.dataset.taxonomy import SCANNET20
from data.rooms.config import RoomsConfig
from data.rooms.recording import FrameRenderer
from data.rooms.source import GENERATOR_VERSION, RoomsSource, geometry_digest, split_of_room
from data.rooms.world import Streams

PRESETS = ("nano", "ci", "query", "tutorial", "tunnel", "flip")


def fingerprint(clip: Clip) -> str:
    """Digest of everything in a clip."""
    arrays = (clip.frame_src, clip.frame_dup, clip.intrinsics, clip.cam2world, clip.pose_valid, clip.gt_frames)
    content = [array.tobytes().hex() for array in (*arrays, clip.instance, clip.depth, clip.class_pixels)]  # type: ignore[union-attr]
    frames = [frame.hex() for frame in clip.frames]
    return digest([clip.clip_id, clip.group_id, clip.split, clip.facts, clip.sources, content, frames])


def make_fingerprint(source: RoomsSource, clip_id: str) -> str:
    return fingerprint(source.make(clip_id))


def test_the_rooms_fulfil_the_contract_of_a_source(small: RoomsConfig) -> None:
    source: ClipSource = RoomsSource(small)
    for clip_id in source.clip_ids():
        clip = source.make(clip_id)
        check_clip(clip, len(SCANNET20))
        assert clip.clip_id == clip_id
        assert clip.depth_kind == clip.pose_kind == "oracle"
        with Image.open(io.BytesIO(clip.frames[0])) as image:
            assert image.size == (64, 48)
    assert source.info.kind == "rooms"
    assert source.info.class_names == SCANNET20.names


def test_same_seed_same_clip_in_any_process_order_and_pickle(small: RoomsConfig) -> None:
    source = RoomsSource(small)
    ids = list(source.clip_ids())
    here = {clip_id: make_fingerprint(source, clip_id) for clip_id in ids}
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:  # which pickles the source
        futures = {clip_id: pool.submit(make_fingerprint, source, clip_id) for clip_id in ids[::-1]}
        assert {clip_id: future.result() for clip_id, future in futures.items()} == here
    assert here[ids[0]] != make_fingerprint(RoomsSource(replace(small, seed=1)), ids[0])


def test_the_stored_digest_is_that_of_the_exact_arrays(make: Callable[..., Clip]) -> None:
    clip = make()
    assert clip.instance is not None and clip.depth is not None
    assert clip.sources["geometry"] == geometry_digest(clip.instance, clip.depth)


def test_more_clips_leave_the_first_ones_as_they_were(small: RoomsConfig) -> None:
    few, many = RoomsSource(small), RoomsSource(replace(small, clips=30, dataset="other"))
    assert few.info.parameters == many.info.parameters
    assert make_fingerprint(few, "room00001") == make_fingerprint(many, "room00001")


def test_parameters_hold_every_key_that_changes_a_value(small: RoomsConfig) -> None:
    parameters = RoomsSource(small).info.parameters
    assert set(parameters) == set(small.__dict__) - {"dataset", "clips"}
    assert canonical_json(parameters)
    assert RoomsSource(small).info.maker_version == GENERATOR_VERSION


def test_query_clips_hold_the_query_positions_of_full_clips(make: Callable[..., Clip]) -> None:
    whole, part = make(), make(render="query")
    query = [position for position in QUERY_POSITIONS if position < 22]
    assert whole.positions is not None and whole.positions.tolist() == list(range(22))
    assert part.positions is not None and part.positions.tolist() == query == part.gt_frames.tolist()
    assert [whole.frames[position] for position in query] == list(part.frames)
    np.testing.assert_array_equal(whole.cam2world[query], part.cam2world)
    np.testing.assert_array_equal(whole.depth, part.depth)
    assert whole.class_pixels is not None and whole.class_pixels.shape == (22, 20)
    np.testing.assert_array_equal(whole.class_pixels[query], part.class_pixels)


def test_dense_all_gives_ground_truth_everywhere(make: Callable[..., Clip]) -> None:
    clip = make(dense="all", frames=4)
    assert clip.gt_frames.tolist() == [0, 1, 2, 3]
    assert clip.depth is not None and clip.depth.shape == (4, 48, 64)


def test_class_pixels_are_the_instance_pixels_of_the_class(make: Callable[..., Clip]) -> None:
    clip = make()
    assert clip.instance is not None and clip.class_pixels is not None and clip.positions is not None
    expected = np.zeros((len(clip.gt_frames), 20), int)
    for item in clip.instances:
        if item.class_index >= 0:
            expected[:, item.class_index] += (clip.instance == item.id).sum(axis=(1, 2))
    rows = np.searchsorted(clip.positions, clip.gt_frames)
    np.testing.assert_array_equal(clip.class_pixels[rows], expected)


def test_instances_follow_the_taxonomy(make: Callable[..., Clip]) -> None:
    clip = make()
    assert [item.id for item in clip.instances] == list(range(1, len(clip.instances) + 1))
    assert [item.raw_label for item in clip.instances[:6]] == ["wall"] * 4 + ["floor", "ceiling"]
    assert [item.class_index for item in clip.instances[:6]] == [0, 0, 0, 0, 1, -1]
    assert not any(item.is_thing for item in clip.instances[:6])
    assert all(item.is_thing and SCANNET20.names[item.class_index] == item.raw_label for item in clip.instances[6:])


@pytest.mark.parametrize("varied", ["camera", "appearance", "lights"])
def test_a_counterfactual_pair_differs_in_one_stream_only(make: Callable[..., Clip], varied: str) -> None:
    first, second = (make(number, clips_per_room=2, vary=varied, frames=6) for number in (0, 1))
    assert first.group_id == second.group_id
    assert first.clip_id == "room00000-0" and second.clip_id == "room00000-1"
    assert first.facts["varied_stream"] == varied
    assert [item.raw_label for item in first.instances] == [item.raw_label for item in second.instances]
    same_path = np.array_equal(first.cam2world, second.cam2world)
    same_depth = np.array_equal(first.depth, second.depth)  # type: ignore[arg-type]
    assert same_path == same_depth == (varied != "camera")
    assert first.frames[0] != second.frames[0]


def test_replacing_the_camera_leaves_geometry_look_and_lights(small: RoomsConfig) -> None:
    source = RoomsSource(replace(small, clips_per_room=2))
    first, second = (source.world(clip_id) for clip_id in source.clip_ids())
    assert first.scene == second.scene
    assert first.lights == second.lights
    np.testing.assert_array_equal(first.look.colour, second.look.colour)
    assert not np.array_equal(first.path, second.path)


def test_streams_are_independent_of_each_other() -> None:
    draws = {
        (room, variant, name, attempt): float(Streams(0, room, variant, "camera").generator(name, attempt).random())
        for room in (0, 1)
        for variant in (0, 1)
        for name in ("layout", "appearance", "lights", "camera", "sensor")
        for attempt in (0, 1)
    }
    repeats = Counter(draws.values())
    for (_, _, name, _), value in draws.items():
        assert repeats[value] == (1 if name == "camera" else 2)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_complete_and_their_splits_are_never_empty(preset: str) -> None:
    config = resolve(RoomsConfig, [load_named("dataset/rooms", preset)], {})
    source = RoomsSource(config)
    assert len(set(source.clip_ids())) == config.clips
    if config.splits in ("cycle", "wide"):
        counts = Counter(split_of_room(config, room) for room in range(config.clips))
        expected = {
            "nano": (6, 1, 1), "ci": (28, 6, 6), "demo": (21, 9, 18), "query": (84, 18, 18), "tutorial": (168, 36, 36),
        }[preset]  # fmt: skip
        assert (counts["train"], counts["select"], counts["report"]) == expected


def test_an_unknown_clip_is_refused(small: RoomsConfig) -> None:
    for name in ("room00002", "room1", "room00000-0", "tunnel00000", "", "room-1"):
        with pytest.raises(MissingError, match="room00000 to room00001"):
            RoomsSource(small).make(name)


@pytest.mark.parametrize(("mode", "per_room"), [("tunnel", 1), ("tunnel_pair", 1), ("flip", 2)])
def test_the_other_modes_make_valid_clips(make: Callable[..., Clip], mode: str, per_room: int) -> None:
    clip = make(1, mode=mode, clips_per_room=per_room, frames=6, min_visible=2)
    check_clip(clip, len(SCANNET20))
    assert clip.facts["mode"] == mode


def test_upside_down_is_the_same_room_and_path_with_objects_mirrored(make: Callable[..., Clip]) -> None:
    upright, reversed_ = (make(number, mode="flip", clips_per_room=2, frames=6) for number in (0, 1))
    np.testing.assert_array_equal(upright.cam2world, reversed_.cam2world)
    assert (upright.facts["gravity"], reversed_.facts["gravity"]) == (1, -1)
    source = RoomsSource(RoomsConfig(clips=2, frames=6, height=48, width=64, mode="flip", clips_per_room=2))
    first, second = (source.world(clip_id).scene.primitives for clip_id in source.clip_ids())
    np.testing.assert_allclose(second.centre * [1, 1, -1], first.centre)


def test_a_static_camera_never_moves(make: Callable[..., Clip]) -> None:
    clip = make(camera="static", frames=6)
    np.testing.assert_array_equal(clip.cam2world, np.repeat(clip.cam2world[:1], 6, axis=0))
    assert len(set(clip.frames)) == 1


def test_appearance_tells_the_category_only_when_it_leaks() -> None:
    def spread(leak: float) -> float:
        """Mean distance between the colours of chairs, over that between all things."""
        colours: dict[str, list[np.ndarray]] = {}
        source = RoomsSource(RoomsConfig(clips=6, frames=6, height=48, width=64, appearance_leak=leak))
        for clip_id in source.clip_ids():
            world = source.world(clip_id)
            firsts = {int(owner): i for i, owner in reversed(list(enumerate(world.scene.primitives.owner)))}
            for owner, i in firsts.items():
                colours.setdefault(world.scene.objects[owner].label, []).append(world.look.colour[6 + i, 0])
        everything = np.concatenate([np.stack(group) for group in colours.values()])
        own = np.stack(colours["chair"])
        return float(own.std(axis=0).mean() / everything.std(axis=0).mean())

    assert spread(0.0) > 0.6
    assert spread(1.0) < 0.05


def test_twins_share_shape_and_on_request_look() -> None:
    for same in (False, True):
        config = RoomsConfig(clips=1, frames=6, height=48, width=64, twin_prob=1.0, twin_same_look=same)
        world = RoomsSource(config).world("room00000")
        objects = world.scene.objects
        pairs = [(i, j) for j, b in enumerate(objects) for i, a in enumerate(objects[:j]) if a.parts is b.parts]
        assert len(pairs) >= 4
        for i, j in pairs:
            assert objects[i].label == objects[j].label
            looks = [world.look.colour[6:][world.scene.primitives.owner == number] for number in (i, j)]
            assert np.array_equal(*looks) == same


def test_every_category_can_be_built_and_seen() -> None:
    seen: set[str] = set()
    source = RoomsSource(RoomsConfig(clips=12, frames=22, height=48, width=64))
    for clip_id in source.clip_ids():
        world = source.world(clip_id)
        renderer = FrameRenderer(world)
        for position in (0, 9, 21):
            ids = np.unique(renderer.render(position, colour=False).instance)
            seen |= {world.scene.labels[number - 1] for number in ids}
    assert len(seen & set(SCANNET20.names)) >= 18
