"""Faults for ScanNet recordings: what importers must refuse, or flag and live with.

A fault changes the recording before it is written, or the files afterwards. Those of the exported folder remove the
`.sens` file, so that importers look at the folder.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data.emit.scannet_scan import RawScan, write_scan, write_zip
from data.raw.images import encode_png

CUT = 200
"""Bytes that are left of a file that is cut off."""


def _unchanged(scan: RawScan) -> RawScan:
    return scan


def _nothing(folder: Path) -> None:
    return None


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        about: what is wrong, in a few words.
        before: changes the recording.
        after: changes the scan's folder; what it returns doesn't matter.
    """

    about: str
    before: Callable[[RawScan], RawScan] = _unchanged
    after: Callable[[Path], object] = _nothing


def _sens(folder: Path) -> Path:
    return folder / f"{folder.name}.sens"


def _zip(folder: Path, kind: str = "instance") -> Path:
    return folder / f"{folder.name}_2d-{kind}-filt.zip"


def _exported(folder: Path, *parts: str) -> Path:
    _sens(folder).unlink(missing_ok=True)
    return folder.joinpath("exported", *parts)


def _flip(path: Path, offset: int, bits: int = 0x40) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= bits
    path.write_bytes(content)


def _cut(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def _shorten(path: Path, count: int) -> None:
    path.write_bytes(path.read_bytes()[:-count])


def _second_frame(path: Path) -> tuple[int, int, int]:
    """Return where frame 1 of a `.sens` file begins, and the sizes of its colour and depth."""
    content = path.read_bytes()
    start = 12 + struct.unpack_from("<Q", content, 4)[0] + 256 + 36
    colour, depth = struct.unpack_from("<QQ", content, start + 80)
    start += 96 + colour + depth
    return (start, *struct.unpack_from("<QQ", content, start + 80))


def _flip_size(folder: Path) -> None:
    _flip(_sens(folder), _second_frame(_sens(folder))[0] + 81, 0x10)  # frame 1's colour seems 4,096 bytes longer or so


def _flip_depth(folder: Path) -> None:
    start, colour, depth = _second_frame(_sens(folder))
    _flip(_sens(folder), start + 96 + colour + depth // 2)


def _cut_image(scan: RawScan) -> RawScan:
    return replace(scan, colour=(scan.colour[0], scan.colour[1][: len(scan.colour[1]) // 2], *scan.colour[2:]))


def _poses(change: np.ndarray | float, rank: int = 1) -> Callable[[RawScan], RawScan]:
    """Return a change of one pose: its rotation times a matrix or number."""

    def before(scan: RawScan) -> RawScan:
        poses = scan.cam2world.copy()
        rotation = poses[rank, :3, :3]
        poses[rank, :3, :3] = rotation @ change if isinstance(change, np.ndarray) else rotation * change
        return replace(scan, cam2world=poses)

    return before


def _nan_poses(scan: RawScan) -> RawScan:
    poses = scan.cam2world.copy()
    poses[1], poses[2, 0, 0] = -np.inf, np.nan
    return replace(scan, cam2world=poses)


def _first_frames(count: int) -> Callable[[RawScan], RawScan]:
    return lambda scan: RawScan(**{**vars(scan), **scan.frames(np.arange(count))})


def _double_objects(scan: RawScan) -> RawScan:
    """As in scene0217_00: the whole list once more, with higher numbers."""
    highest = max(item.number for item in scan.objects) + 1
    return replace(scan, objects=scan.objects + tuple(replace(o, number=o.number + highest) for o in scan.objects))


def _aggregation(change: Callable[[str], str]) -> Callable[[Path], None]:
    def after(folder: Path) -> None:
        path = folder / f"{folder.name}.aggregation.json"
        path.write_text(change(path.read_text(encoding="utf-8")))

    return after


def _contradict(text: str) -> str:
    content = json.loads(text)
    content["segGroups"].append({**content["segGroups"][0], "label": "table"})
    return json.dumps(content)


def _relabel(text: str) -> str:
    """Call the floor a bathtub; the label images still say floor."""
    return text.replace('"label": "floor"', '"label": "bathtub"')


def _forget(text: str) -> str:
    content = json.loads(text)
    content["segGroups"] = [group for group in content["segGroups"] if group["label"] != "floor"]
    return json.dumps(content)


def _members(change: Callable[[dict[str, bytes]], object]) -> Callable[[Path], None]:
    """Return a change of the members of the instance images."""

    def after(folder: Path) -> None:
        import zipfile

        with zipfile.ZipFile(_zip(folder)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        change(members)
        write_zip(_zip(folder), members)

    return after


def _as_jpeg(content: bytes, **options: object) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    with Image.open(io.BytesIO(content)) as image:
        image.convert(str(options.pop("mode", "L"))).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def _colour(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Return a change of the second image of the exported folder."""

    def after(folder: Path) -> None:
        path = _exported(folder, "color", "1.jpg")
        path.write_bytes(change(path.read_bytes()))

    return after


def _quarter_turned(content: bytes) -> bytes:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    return _as_jpeg(content, mode="RGB", exif=exif)


FAULTS: dict[str, Fault] = {
    "cut_sens": Fault("the .sens file ends in the middle", after=lambda f: _cut(_sens(f), 0.5)),
    "empty_sens": Fault("the .sens file has no bytes", after=lambda f: _sens(f).write_bytes(b"")),
    "flipped_size": Fault("one bit of a size in the .sens file is flipped", after=_flip_size),
    "flipped_depth": Fault("one bit of a compressed depth image is flipped", after=_flip_depth),
    "cut_image": Fault("a colour image in the .sens file is cut off", before=_cut_image),
    "no_imu_tail": Fault("the list of IMU records is missing", after=lambda f: _shorten(_sens(f), 8)),
    "frames_19": Fault("19 frames, one too few for a clip", before=_first_frames(19)),
    "frames_50": Fault("50 frames, so that positions repeat", before=_first_frames(50)),
    "nan_poses": Fault("tracking lost in two frames", before=_nan_poses),
    "mirrored_pose": Fault("a pose that mirrors", before=_poses(np.diag([1, -1, 1]).astype(np.float32))),
    "scaled_pose": Fault("a pose that scales by 1.1", before=_poses(1.1)),
    "missing_zip": Fault("no instance images", after=lambda f: _zip(f).unlink()),
    "cut_zip": Fault("the zip of instance images is cut off", after=lambda f: _cut(_zip(f), 0.5)),
    "zip_slip": Fault("a zip member that leads out", after=_members(lambda m: m.update({"../../out.png": b"x"}))),
    "missing_mask": Fault("one instance image missing", after=_members(lambda m: m.pop("instance-filt/1.png"))),
    "jpeg_mask": Fault(
        "an instance image saved as JPEG",
        after=_members(lambda m: m.update({"instance-filt/1.png": _as_jpeg(m["instance-filt/1.png"])})),
    ),
    "small_mask": Fault(
        "an instance image of another size",
        after=_members(lambda m: m.update({"instance-filt/1.png": encode_png(np.ones((8, 8), np.uint8))})),
    ),
    "nan_aggregation": Fault("NaN in the aggregation", after=_aggregation(lambda t: t.replace('"id": 0', '"id": NaN'))),
    "contradiction": Fault("an object described twice, differently", after=_aggregation(_contradict)),
    "double_objects": Fault("every object listed twice", before=_double_objects),
    "wrong_label": Fault("the floor is called a bathtub", after=_aggregation(_relabel)),
    "unknown_id": Fault("the floor is missing in the aggregation", after=_aggregation(_forget)),
    "empty_image": Fault("an exported colour image has no bytes", after=_colour(lambda c: b"")),
    "cmyk_image": Fault("an exported colour image is CMYK", after=_colour(lambda c: _as_jpeg(c, mode="CMYK"))),
    "turned_image": Fault("an exported colour image asks to be turned", after=_colour(_quarter_turned)),
    "small_depth": Fault(
        "an exported depth image of another size",
        after=lambda f: _exported(f, "depth", "1.png").write_bytes(encode_png(np.ones((8, 8), np.uint16))),
    ),
    "missing_pose": Fault("an exported pose is missing", after=lambda f: _exported(f, "pose", "1.txt").unlink()),
    "odd_pose": Fault(
        "an exported pose is no matrix",
        after=lambda f: _exported(f, "pose", "1.txt").write_text("1 0 0\n0 one 0\n"),
    ),
}
"""Name -> fault; frame 1 is the damaged one, since it is a query position of every clip."""


def write_broken(folder: Path, scan: RawScan, layout: str = "both", fault: str | None = None) -> None:
    """Write a scan as `write_scan` does, with a fault by name, or without one."""
    broken = FAULTS[fault] if fault else Fault("nothing is wrong")
    write_scan(folder, broken.before(scan), layout)
    broken.after(folder)
