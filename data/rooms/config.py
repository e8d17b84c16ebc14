"""Every knob of the rooms, with its default, meaning and limits; presets in configs/dataset/rooms/ fill it."""

from __future__ import annotations

import dataclasses
from typing import Any

from configs.errors import ConfigError
from configs.identity import plain
from configs.options import option

MODES = ("room", "flip", "tunnel", "tunnel_pair")
FAMILIES = ("auto", "walk", "orbit", "tunnel", "static")
STREAMS = ("layout", "appearance", "lights", "camera", "sensor")
PAIR_CELLS = 256
"""Cells of the 16 x 16 grid of angles that one pair of objects visits in mode `tunnel_pair`."""


@dataclasses.dataclass(frozen=True)
class RoomsConfig:
    """What the generator makes. `check` holds the rules that involve more than one key."""

    dataset: str = option("rooms", "name of the prepared dataset")
    clips: int = option(40, "number of clips", minimum=1)
    frames: int = option(81, "positions per clip; probes ask for 0, 1, 5, ..., 73", minimum=2, maximum=1000)
    render: str = option("all", "which positions are rendered", choices=("all", "query"))
    dense: str = option("query", "which rendered positions get depth and instances", choices=("query", "all"))
    height: int = option(128, "pixels", minimum=16, maximum=2048)
    width: int = option(128, "pixels", minimum=16, maximum=2048)
    seed: int = option(0, "seed of all random streams", minimum=0)
    splits: str = option(
        "cycle",
        "cycle: 14/3/3 of every 20 rooms; wide: 7/3/6 of every 16; hash: by group; report: all",
        choices=("cycle", "wide", "hash", "report"),
    )

    mode: str = option("room", "kind of scene", choices=MODES)
    objects: int = option(16, "objects per room or tunnel; those that fit nowhere are dropped", minimum=1, maximum=40)
    class_prior: float = option(
        1.0, "steepness of the class tail: 0 all alike, 1 natural, more is steeper", minimum=0, maximum=5
    )
    twin_prob: float = option(0.2, "probability that an object has a twin of the same shape", minimum=0, maximum=1)
    twin_same_look: bool = option(False, "twins share colours and textures too")
    clips_per_room: int = option(1, "clips that share a room (and so a group)", minimum=1)
    vary: str = option("camera", "the one random stream that differs between the clips of a room", choices=STREAMS[1:])
    vd: float = option(
        0.0, "tunnel: requested correlation of image height and depth; 1 natural, -1 reversed", minimum=-1, maximum=1
    )
    equal_size: bool = option(False, "tunnel_pair: scale objects with distance, so that size doesn't reveal depth")

    appearance_leak: float = option(0.0, "how much of an object's look depends on its class", minimum=0, maximum=1)
    texture: float = option(1.0, "contrast of textures; 0 gives flat colours", minimum=0, maximum=1)
    light: float = option(1.0, "brightness of all lights", minimum=0.05, maximum=4)
    supersample: int = option(1, "RGB samples per pixel along each axis; ground truth has one", minimum=1, maximum=4)

    camera: str = option("auto", "path family; auto: walk and orbit in turn, in tunnels tunnel", choices=FAMILIES)
    fov: float = option(62.0, "angle of view along the longer side, degrees", minimum=20, maximum=110)
    clearance: float = option(
        0.2, "least distance of the camera from every primitive, metres", minimum=0.05, maximum=0.5
    )
    min_depth: float = option(0.25, "least depth that any frame may show, metres", minimum=0.05, maximum=0.5)
    max_turn: float = option(6.0, "median rotation between frames stays below, degrees", minimum=0.1, maximum=45)
    min_visible: int = option(6, "objects seen in at least two query frames", minimum=0, maximum=40)
    min_overlap: float = option(0.04, "share of the first query frame seen again in the last", minimum=0, maximum=0.9)

    jpeg_quality: int = option(95, "quality of the stored frames, 4:4:4", minimum=10, maximum=100)
    depth_noise: float = option(
        0.0, "standard deviation of depth is this times depth squared, 1/m", minimum=0, maximum=0.1
    )
    depth_dropout: float = option(
        0.0, "probability of no depth where the surface is seen edge-on", minimum=0, maximum=1
    )
    pose_jitter_m: float = option(0.0, "standard deviation of stored positions, metres", minimum=0, maximum=1)
    pose_jitter_deg: float = option(0.0, "standard deviation of stored orientations, degrees", minimum=0, maximum=45)
    invalid_pose_prob: float = option(0.0, "probability that a frame's pose is -inf", minimum=0, maximum=1)
    exposure_drift: float = option(0.0, "standard deviation of brightness over a clip, stops", minimum=0, maximum=3)
    motion_blur: float = option(0.0, "shutter time as a share of the frame time", minimum=0, maximum=1)
    unannotated_prob: float = option(0.0, "probability that an object has no annotation", minimum=0, maximum=1)
    id_gap: int = option(0, "raw instance ids skip up to this many numbers", minimum=0, maximum=100)
    portrait_prob: float = option(0.0, "probability that a clip has height and width exchanged", minimum=0, maximum=1)
    missing_prob: float = option(
        0.0, "probability that a frame is missing and its predecessor repeated", minimum=0, maximum=0.5
    )

    def check(self) -> None:
        """Refuse combinations that contradict each other.

        Raises:
            ConfigError: two keys contradict each other.
        """
        if self.mode in ("tunnel", "tunnel_pair") and self.camera in ("walk", "orbit"):
            raise ConfigError(
                f"camera={self.camera} needs a room", expected="auto, tunnel or static", found=f"mode={self.mode}",
                fix="leave camera= out, or choose mode=room",
            )  # fmt: skip
        if self.mode in ("room", "flip") and self.camera == "tunnel":
            raise ConfigError("camera=tunnel needs a tunnel", found=f"mode={self.mode}", fix="choose mode=tunnel vd=0")
        if self.mode == "flip" and self.clips_per_room != 2:
            raise ConfigError(
                "mode=flip makes pairs: a room upright, then upside down", expected="clips_per_room=2",
                found=self.clips_per_room, fix="add clips_per_room=2",
            )  # fmt: skip
        if self.mode == "tunnel_pair" and self.clips_per_room != 1:
            raise ConfigError(
                f"mode=tunnel_pair gives every pair of objects {PAIR_CELLS} clips", found=self.clips_per_room,
                fix="leave clips_per_room= out",
            )  # fmt: skip
        if self.portrait_prob > 0 and self.height == self.width:
            raise ConfigError(
                "portrait frames need height and width to differ", found=f"{self.height} x {self.width}",
                fix="for example height=96 width=128",
            )  # fmt: skip
        for key in ("vd", "equal_size"):
            owner = {"vd": "tunnel", "equal_size": "tunnel_pair"}[key]
            if getattr(self, key) and self.mode != owner:
                raise ConfigError(
                    f"{key} means something only in mode={owner}", found=f"mode={self.mode}", fix=f"add mode={owner}"
                )

    def parameters(self) -> dict[str, Any]:
        """Return all keys that change a value; the name and the number of clips do not."""
        values: dict[str, Any] = plain(self)
        return {key: value for key, value in values.items() if key not in ("dataset", "clips")}
