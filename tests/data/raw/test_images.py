"""Raw pictures are read strictly: every kind of broken or misleading file is one error with its path."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from configs.errors import DatasetError
from data.raw.images import color_frame, encode_jpeg, picture_size, read_color, read_depth, read_mask, resize_nearest
from tests.data.video.filming import picture_bytes

RNG = np.random.default_rng(0)
SMOOTH = np.asarray(
    Image.fromarray(RNG.integers(0, 255, (5, 7, 3), dtype=np.uint8)).resize((47, 33), Image.Resampling.BICUBIC)
)
WHERE = "/raw/scene/17.jpg"


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :]


RGB = Image.fromarray(SMOOTH)
JPEG, PNG = picture_bytes(SMOOTH, quality=95), picture_bytes(SMOOTH, "PNG")


def png16() -> bytes:
    """A 16-bit RGB PNG, which the library would reduce to 8 bits in silence."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + bytes(6 * 4) for _ in range(3))
    header = struct.pack(">IIBBBBB", 4, 3, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize(
    ("content", "pixels", "tolerance"),
    [
        (PNG, SMOOTH, 0),
        (JPEG, SMOOTH, 30),
        (saved(RGB, "JPEG", progressive=True, quality=95), SMOOTH, 30),
        (saved(RGB.convert("L"), "PNG"), np.asarray(RGB.convert("L").convert("RGB")), 0),
        (saved(RGB.convert("L"), "JPEG", quality=95), np.asarray(RGB.convert("L").convert("RGB")), 30),
        (saved(RGB.quantize(64), "PNG"), np.asarray(RGB.quantize(64).convert("RGB")), 0),
        (saved(RGB.convert("RGBA"), "PNG"), SMOOTH, 0),
        (saved(Image.new("RGBA", (47, 33), (9, 9, 9, 0)), "PNG"), np.full((33, 47, 3), 255), 0),
        (saved(RGB.convert("1"), "PNG"), np.asarray(RGB.convert("1").convert("RGB")), 0),
        (saved(RGB, "WEBP", lossless=True), SMOOTH, 0),
        (saved(RGB, "WEBP", quality=95), SMOOTH, 60),
        (saved(RGB, "BMP"), SMOOTH, 0),
        (saved(RGB.quantize(64), "BMP"), np.asarray(RGB.quantize(64).convert("RGB")), 0),
        (saved(RGB, "TIFF"), SMOOTH, 0),
        (saved(RGB, "TIFF", compression="tiff_lzw"), SMOOTH, 0),
        (saved(RGB.convert("L"), "TIFF"), np.asarray(RGB.convert("L").convert("RGB")), 0),
        (saved(RGB, "PPM"), SMOOTH, 0),
        (saved(RGB.convert("L"), "PPM"), np.asarray(RGB.convert("L").convert("RGB")), 0),
    ],
)
def test_colour_becomes_rgb(content: bytes, pixels: np.ndarray, tolerance: int) -> None:
    found = read_color(content, WHERE, size=(33, 47))
    assert found.dtype == np.uint8 and found.shape == (33, 47, 3)
    assert np.abs(found.astype(int) - pixels).max() <= tolerance


BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "0 bytes"),
    "zeros": (bytes(999), "zeros only"),
    "text": (b"<html>not found</html>", "text"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS"),
    "webp cut off": (saved(RGB, "WEBP")[:-300], "truncated or damaged|can't be read"),
    "webp animated": (saved(RGB, "WEBP", save_all=True, append_images=[RGB.rotate(90)]), "several frames"),
    "bmp cut off": (saved(RGB, "BMP")[:-60], "truncated or damaged"),
    "tiff cut off": (saved(RGB, "TIFF")[:-900], "truncated or damaged|can't be read"),
    "tiff pages": (saved(RGB, "TIFF", save_all=True, append_images=[RGB]), "several frames or pages"),
    "tiff 16 bits": (saved(Image.fromarray(np.zeros((33, 47), np.uint16)), "TIFF"), "16 bits"),
    "tiff lab": (saved(Image.new("LAB", (47, 33)), "TIFF"), "other colours"),
    "ppm cut off": (saved(RGB, "PPM")[:-5], "truncated or damaged"),
    "ppm 16 bits": (b"P6 47 33 65535\n" + bytes(47 * 33 * 6), "16 bits"),
    "pgm 16 bits": (b"P5 47 33 4095\n" + bytes(47 * 33 * 2), "16 bits"),
    "gif": (saved(RGB.quantize(8), "GIF"), "GIF"),
    "header only": (JPEG[:20], "truncated or damaged|cut off or damaged"),
    "png header only": (PNG[:20], "truncated or damaged|cut off or damaged"),
    "truncated jpeg": (JPEG[:-60], "truncated or damaged"),
    "truncated jpeg, last bytes": (JPEG[:-12], "truncated or damaged"),
    "truncated png": (PNG[:-60], "truncated or damaged"),
    "flipped png": (flipped(PNG, len(PNG) // 2), "truncated or damaged"),
    "cmyk": (saved(RGB.convert("CMYK"), "JPEG"), "CMYK picture without a colour profile"),
    "cmyk, bad profile": (saved(RGB.convert("CMYK"), "JPEG", icc_profile=b"x" * 200), "unusable colour profile"),
    "cmyk, profile of RGB": (saved(RGB.convert("CMYK"), "JPEG", icc_profile=srgb()), "unusable colour profile"),
    "16 bits grey": (picture_bytes(np.zeros((33, 47), np.uint16), "PNG"), "16 bits"),
    "16 bits colour": (png16(), "16 bits"),
    "other size": (picture_bytes(SMOOTH[:-1]), "another size"),
    "exif": (saved(RGB, "JPEG", exif=exif(6)), "orientation 6"),
    "animated": (saved(RGB, "PNG", save_all=True, append_images=[RGB.rotate(90)]), "several frames"),
    "too large": (flipped(PNG[:16], 0)[:0] + PNG[:16] + b"\x00\x10\x00\x00" * 2 + PNG[24:], "too large|damaged"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_pictures_are_one_error(name: str) -> None:
    content, message = BROKEN[name]
    reads: tuple[Callable[[], object], ...] = (
        lambda: read_color(content, WHERE, size=(33, 47)),
        lambda: color_frame(content, WHERE, source_size=(33, 47)),
    )
    for read in reads:
        with pytest.raises(DatasetError, match=message) as caught:
            read()
        assert WHERE in str(caught.value)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    "options",
    [
        {"subsampling": 0},
        {"subsampling": 1},
        {"subsampling": 2, "quality": 60},
        {"progressive": True},
        {"optimize": True},
    ],
    ids=str,
)
def test_jpegs_give_the_pixels_of_pillow(mode: str, options: dict[str, Any]) -> None:
    content = saved(RGB.convert(mode), "JPEG", **options)
    np.testing.assert_array_equal(
        read_color(content, WHERE), np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    )


def test_flipped_jpegs_are_found_where_the_code_breaks() -> None:
    """A JPEG has no checksum: some flips make another valid picture. Of those that show, a good part is found."""
    pixels = np.random.default_rng(1).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    content = saved(Image.fromarray(pixels).resize((256, 192), Image.Resampling.BICUBIC), "JPEG", quality=90)
    intact = read_color(content, WHERE).astype(int)
    found, missed = 0, 0
    for at in range(700, len(content) - 2, 97):
        try:
            damaged = read_color(flipped(content, at), WHERE)
        except DatasetError:
            found += 1
        else:
            missed += int((np.abs(damaged - intact).max(axis=-1) > 8).mean() > 0.002)
    assert found + missed > 50
    assert found > (found + missed) / 3


@pytest.mark.parametrize("orientation", range(2, 9))
def test_exif_rotation_can_be_applied(orientation: int) -> None:
    content = saved(RGB, "PNG", exif=exif(orientation))
    found = read_color(content, WHERE, orientation="apply")
    turns: dict[int, Callable[[Any], Any]] = {
        2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1), 7: lambda a: np.rot90(a, 2).transpose(1, 0, 2), 8: np.rot90,
    }  # fmt: skip
    np.testing.assert_array_equal(found, turns[orientation](SMOOTH))
    assert picture_size(content, WHERE, orientation="apply") == found.shape[:2]


def test_original_bytes_are_kept_only_if_nothing_changes() -> None:
    assert color_frame(JPEG, WHERE) is JPEG
    assert color_frame(JPEG, WHERE, size=(33, 47)) is JPEG
    for content, options in (
        (PNG, {}),
        (JPEG, {"size": (16, 24)}),
        (saved(RGB, "JPEG", exif=exif(3)), {"orientation": "apply"}),
    ):
        new = color_frame(content, WHERE, **options)
        assert new != content and new[:2] == b"\xff\xd8"
        assert read_color(new, WHERE).shape[:2] == options.get("size", (33, 47))
    assert encode_jpeg(SMOOTH) == encode_jpeg(SMOOTH)


def pgm(values: np.ndarray, largest: int) -> bytes:
    height, width = values.shape
    content = values.astype(">u2" if largest > 255 else np.uint8).tobytes()
    return f"P5\n# by hand\n{width} {height}\n{largest}\n".encode() + content


@pytest.mark.parametrize("largest", [4095, 10000, 65535])
def test_pgm_gives_the_values_in_the_file(largest: int) -> None:
    """The library stretches them to its own range."""
    values = RNG.integers(0, largest, (12, 16)).astype(np.uint16)
    np.testing.assert_array_equal(read_depth(pgm(values, largest), WHERE, size=(12, 16)), values)
    np.testing.assert_array_equal(read_mask(pgm(values, largest), WHERE, size=(12, 16)), values)
    small = values % 200
    np.testing.assert_array_equal(read_mask(pgm(small, 200), WHERE), small)


def test_depth_and_masks_in_tiff_and_bmp() -> None:
    values = RNG.integers(0, 65535, (12, 16), dtype=np.uint16)
    for options in ({}, {"compression": "tiff_lzw"}):
        content = picture_bytes(values, "TIFF", **options)
        np.testing.assert_array_equal(read_depth(content, WHERE), values)
        np.testing.assert_array_equal(read_mask(content, WHERE), values)
    ids = (values % 200).astype(np.uint8)
    for form in ("TIFF", "BMP"):
        np.testing.assert_array_equal(read_mask(picture_bytes(ids, form), WHERE), ids)
    for content in (picture_bytes(ids, "WEBP"), picture_bytes(ids, "TIFF", compression="jpeg")):
        with pytest.raises(DatasetError, match=r"compression may have changed its ids|needs one channel"):
            read_mask(content, WHERE)


def cmyk_profile() -> bytes:
    """The smallest ICC profile of a press: 2 nodes per ink to Lab, black ink and the sum of the others darken."""
    nodes = np.stack(np.meshgrid(*[(0, 1)] * 4, indexing="ij"), -1).reshape(-1, 4)
    light = 255 * (1 - nodes[:, 3]) * (1 - nodes[:, :3].mean(1))
    lab = np.stack([light, np.full(16, 128), np.full(16, 128)], 1).astype(np.uint8)
    ramp = bytes(range(256))
    matrix = struct.pack(">9i", *(np.eye(3, dtype=int) * 65536).ravel().tolist())
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + ramp * 4 + lab.tobytes() + ramp * 3
    lut += bytes(-len(lut) % 4)
    size = 128 + 4 + 12 + len(lut)
    header = struct.pack(">I4sI4s4s4s12s4s", size, bytes(4), 0x02400000, b"prtr", b"CMYK", b"Lab ", bytes(12), b"acsp")
    header += bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return header + bytes(128 - len(header)) + struct.pack(">I4sII", 1, b"A2B0", 144, len(lut)) + lut


def test_cmyk_becomes_srgb_by_its_own_profile() -> None:
    profile = cmyk_profile()
    half = read_color(saved(Image.new("CMYK", (8, 8), (0, 0, 0, 128)), "JPEG", icc_profile=profile), WHERE)
    assert np.abs(half.astype(int) - 118).max() < 4  # L* of 50, which is not the 127 of a plain inversion
    white = Image.new("CMYK", (8, 8), (0, 0, 0, 0))
    black = Image.new("CMYK", (8, 8), (255, 255, 255, 255))
    for image, low, high in ((white, 250, 255), (black, 0, 40)):
        found = read_color(saved(image, "JPEG", icc_profile=profile, quality=95), WHERE)
        assert found.shape == (8, 8, 3) and found.min() >= low and found.max() <= high
        assert color_frame(saved(image, "JPEG", icc_profile=profile), WHERE)[:2] == b"\xff\xd8"
        assert Image.open(io.BytesIO(color_frame(saved(image, "JPEG", icc_profile=profile), WHERE))).mode == "RGB"


def test_depth() -> None:
    values = RNG.integers(0, 65535, (12, 16), dtype=np.uint16)
    np.testing.assert_array_equal(read_depth(picture_bytes(values, "PNG"), WHERE, size=(12, 16)), values)
    values[3, 4] = 65535
    assert read_depth(picture_bytes(values, "PNG"), WHERE)[3, 4] == 0
    for content, message in (
        (picture_bytes(values, "PNG"), "another size"),
        (picture_bytes(values.astype(np.uint8), "PNG"), "not a depth map"),
        (PNG, "not a depth map"),
        (picture_bytes(values.astype(np.uint8)), "not a depth map"),
        (picture_bytes(values, "PNG")[:-30], "truncated or damaged"),
        (picture_bytes(values.astype(np.int32), "TIFF"), "not a depth map"),
        (picture_bytes(values.astype(np.float32), "TIFF"), "not a depth map"),
        (picture_bytes(values.astype(np.uint8), "PPM"), "not a depth map"),
        (pgm(values, 65535)[:-3], "truncated or damaged"),
        (b"", "0 bytes"),
    ):
        with pytest.raises(DatasetError, match=message) as caught:
            read_depth(content, WHERE, size=(12, 17))
        assert WHERE in str(caught.value)


def test_masks() -> None:
    ids = RNG.integers(0, 200, (12, 16))
    for dtype in (np.uint8, np.uint16):
        content = picture_bytes((ids * (1 if dtype == np.uint8 else 300)).astype(dtype), "PNG")
        assert (read_mask(content, WHERE, size=(12, 16)) == ids * (1 if dtype == np.uint8 else 300)).all()
    palette = Image.fromarray(ids.astype(np.uint8)).convert("P")
    palette.putpalette(RNG.integers(0, 255, 768, dtype=np.uint8).tobytes())
    np.testing.assert_array_equal(read_mask(saved(palette, "PNG"), WHERE), ids)
    for content, message in (
        (picture_bytes(ids.astype(np.uint8)), "saved as JPEG"),
        (PNG, "one channel"),
        (picture_bytes(ids.astype(np.uint8)[:9], "PNG"), "another size"),
    ):
        with pytest.raises(DatasetError, match=message):
            read_mask(content, WHERE, size=(12, 16))


def test_nearest() -> None:
    values = np.arange(12).reshape(3, 4)
    np.testing.assert_array_equal(resize_nearest(values, (6, 8)), values.repeat(2, 0).repeat(2, 1))
    np.testing.assert_array_equal(resize_nearest(resize_nearest(values, (9, 12)), (3, 4)), values)
