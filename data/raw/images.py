"""Reads raw pictures strictly: colour frames, 16-bit depth and id masks, from the bytes of a file.

Colour is read from JPEG, PNG, WebP, BMP, TIFF and PPM, depth and masks from PNG, TIFF and PGM, masks from BMP too.

Whatever is wrong with a file, empty, cut off, damaged or of a kind that would be misread in silence, ends in one
`DatasetError` with its path. Damage is found as far as the format allows: PNG by its checksums, JPEG where a decoder
that takes every warning for an error stumbles. A JPEG has no checksum: a flipped bit after which its code still makes
sense, and ends where it should, makes another valid picture.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from configs.errors import DatasetError
from data.raw.depth import known_depth

if TYPE_CHECKING:
    from PIL import Image

Size = tuple[int, int]
Where = str | PathLike[str]
Orientation = Literal["refuse", "apply"]

MAX_SIDE = 16384
MAX_PIXELS = 64_000_000
JPEG_QUALITY = 95
_ORIENTATION_TAG = 0x0112
_PNG_BIT_DEPTH = 24
"""Offset of the bit depth in a PNG: signature, then the IHDR chunk."""
_BITS_TAG = 0x0102
"""BitsPerSample of a TIFF."""
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM")
_EXPECTED = "JPEG, PNG, WebP, BMP, TIFF or PPM"
_COLOURS = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "YCbCr")
_GAP = rb"(?:\s+(?:#[^\n\r]*[\n\r]\s*)*)"
_PNM = re.compile(rb"(P[1-6])" + _GAP + rb"(\d{1,9})" + _GAP + rb"(\d{1,9})" + _GAP + rb"(\d{1,5})\s")
"""Header of a PGM or PPM: kind, width, height, largest value."""
_KNOWN = {
    b"GIF8": "GIF", b"RIFF": "a damaged WebP, or AVI", b"BM": "a damaged BMP", b"II*\x00": "a damaged TIFF",
    b"MM\x00*": "a damaged TIFF", b"\x00\x00\x00": "HEIC or MP4", b"%PDF": "PDF", b"PK\x03\x04": "zip",
    b"<": "text", b"{": "JSON", b"version https": "a Git LFS pointer",
}  # fmt: skip


def read_color(
    content: bytes, where: Where, *, size: Size | None = None, orientation: Orientation = "refuse"
) -> NDArray[np.uint8]:
    """Decode a colour frame.

    Grey and palette pictures become RGB; transparent ones are laid on white. CMYK pictures become sRGB by the colour
    profile that they hold. Those without one are refused, and so are pictures of 16 bits: there is no one way to turn
    them into 8-bit RGB.

    Args:
        content: bytes of a picture.
        where: path (or path and member) for messages.
        size: (height, width) that it must have, after rotation.
        orientation: what to do with a picture whose EXIF tag asks for a rotation: "refuse" it (poses, intrinsics or
            masks would not follow), or "apply" the rotation.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        DatasetError: not a usable colour picture; says why.
    """
    return np.asarray(_color(content, where, size, orientation)[0], dtype=np.uint8)


def color_frame(
    content: bytes, where: Where, *, size: Size | None = None, orientation: Orientation = "refuse",
    source_size: Size | None = None, quality: int = JPEG_QUALITY,
) -> bytes:  # fmt: skip
    """Return a colour frame as JPEG: the original bytes, checked, if they are a JPEG that needs no change.

    Args:
        content, where, orientation: as for `read_color`.
        size: (height, width) of the result; bilinear resize if the picture has another size. None keeps its own.
        source_size: (height, width) that the picture must have before resizing.
        quality: of a new encoding.

    Raises:
        DatasetError: not a usable colour picture; says why.
    """
    from PIL import Image

    picture, untouched = _color(content, where, source_size, orientation)
    if size is not None and (picture.height, picture.width) != tuple(size):
        picture = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)
        untouched = False
    return content if untouched else encode_jpeg(np.asarray(picture), quality)


def resize_color(pixels: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """Return (H, W, 3) uint8 RGB at another (height, width), bilinear with a filter as wide as the reduction."""
    from PIL import Image

    return np.asarray(Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def encode_jpeg(pixels: NDArray[np.uint8], quality: int = JPEG_QUALITY) -> bytes:
    """Return (H, W, 3) uint8 RGB as a JPEG without chroma subsampling; the same pixels give the same bytes."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def encode_png(pixels: NDArray[np.uint8] | NDArray[np.uint16], *, compress_level: int = 6) -> bytes:
    """Return an image as a PNG: (H, W, 3) uint8 RGB, or (H, W) grey, uint8 or uint16.

    Args:
        pixels: the image.
        compress_level: of zlib, 0 (none) to 9; another level gives other bytes.
    """
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=compress_level)
    return buffer.getvalue()


def picture_size(content: bytes, where: Where, *, orientation: Orientation = "refuse") -> Size:
    """Return (height, width) from the header alone, after any rotation that `orientation` applies.

    Raises:
        DatasetError: not a picture that can be read, or too large.
    """
    with _opened(content, where) as image:
        turned = orientation == "apply" and _orientation(image, where) >= 5
        return (image.width, image.height) if turned else (image.height, image.width)


def read_depth(content: bytes, where: Where, *, size: Size | None = None) -> NDArray[np.uint16]:
    """Decode a depth map: PNG, TIFF or PGM with one channel of 16 bits, in the units of the source.

    Args:
        content: bytes of the file.
        where: path for messages.
        size: (height, width) that it must have.

    Returns:
        (H, W) uint16, 0 = unknown, also where the file has the largest value, 65535.

    Raises:
        DatasetError: not such a map; says what it is instead.
    """
    image = _loaded(content, where)
    sound = image.mode.startswith("I") if image.format == "PNG" else image.mode.startswith("I;16")
    if not sound and not (image.format == "PPM" and _bit_depth(image, content) == 16):
        raise DatasetError(
            "not a depth map", expected="PNG, TIFF or PGM with one channel of 16 bits", where=where,
            found=_describe(image, content), fix="export depth as 16-bit PNG; JPEG and 8-bit pictures can't hold it",
        )  # fmt: skip
    _check_size(image, size, where)
    return known_depth(_numbers(image, content, where))


def read_mask(content: bytes, where: Where, *, size: Size | None = None) -> NDArray[np.uint16]:
    """Decode a map of ids: PNG, TIFF, BMP or PGM with one channel of up to 16 bits; indices of a palette are the ids.

    Args:
        content: bytes of the file.
        where: path for messages.
        size: (height, width) that it must have.

    Returns:
        (H, W) uint16.

    Raises:
        DatasetError: a JPEG or WebP (whose compression changes ids), a colour picture, or another size.
    """
    image = _loaded(content, where)
    if image.format not in ("PNG", "TIFF", "BMP", "PPM") or image.info.get("compression") in ("jpeg", "webp"):
        raise DatasetError(
            f"a mask saved as {image.format}: compression may have changed its ids", expected="PNG", where=where,
            fix="export the masks again as PNG",
        )  # fmt: skip
    if image.mode not in ("L", "P", "1") and not image.mode.startswith("I"):
        raise DatasetError(
            "a mask needs one channel of ids", expected="grey or palette PNG of 8 or 16 bits",
            found=_describe(image, content), where=where, fix="save ids, not colours",
        )  # fmt: skip
    _check_size(image, size, where)
    return _numbers(image, content, where)


def nearest(old: int, new: int) -> NDArray[np.int64]:
    """Return which of `old` pixels along an axis lies under the centre of each of `new` ones, (new,) int64."""
    return ((np.arange(new) + 0.5) * old / new).astype(np.int64)


def resize_nearest(values: NDArray[Any], size: Size) -> NDArray[Any]:
    """Return a map (H, W) at another size: each new pixel takes the old one under its centre."""
    height, width = values.shape[:2]
    result: NDArray[Any] = values[nearest(height, size[0])[:, None], nearest(width, size[1])[None]]
    return result


def _color(content: bytes, where: Where, size: Size | None, orientation: Orientation) -> tuple[Image.Image, bool]:
    """The picture as RGB, and whether the original bytes are a JPEG that shows just that."""
    from PIL import Image, ImageOps

    image = _loaded(content, where)
    if image.mode == "CMYK":
        image = _from_profile(image, content, where)
    if image.mode not in _COLOURS and not image.mode.startswith(("I", "F")):
        _refuse("a picture of other colours", _describe(image, content), where, "convert it to RGB")
    if image.mode.startswith(("I", "F")) or _bit_depth(image, content) == 16:
        _refuse("a picture of 16 bits per channel", _describe(image, content), where, "convert it to 8 bits")
    turn = _orientation(image, where)
    if turn != 1 and orientation == "refuse":
        raise DatasetError(
            f"an EXIF tag asks to turn this picture (orientation {turn}); its cameras and masks would not turn with it",
            where=where, fix="turn the pixels and remove the tag, for example with `mogrify -auto-orient`",
        )  # fmt: skip
    untouched = image.format == "JPEG" and turn == 1 and image.mode in ("L", "RGB")
    if turn != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode in ("LA", "RGBA", "PA") or "transparency" in image.info:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    _check_size(image, size, where)
    return image.convert("RGB"), untouched


@contextmanager
def _opened(content: bytes, where: Where) -> Iterator[Image.Image]:
    """Open by header; turn everything that the library raises into one error."""
    from PIL import Image, UnidentifiedImageError

    if not content:
        raise DatasetError("an empty file of 0 bytes", expected=f"a picture: {_EXPECTED}", where=where)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content), formats=_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DatasetError("picture too large", expected=f"at most {MAX_PIXELS} pixels", where=where) from None
    except UnidentifiedImageError:
        kind = next((name for magic, name in _KNOWN.items() if content.startswith(magic)), None)
        if content.startswith((b"\xff\xd8", b"\x89PNG")):
            kind = "a JPEG or PNG whose header is cut off or damaged"
        elif not any(content[:1024]):
            kind = "zeros only"
        raise DatasetError("not a picture that can be read", expected=_EXPECTED, found=kind, where=where) from None
    except Exception as error:
        raise _damaged(error, where) from error
    with image:
        if max(image.size) > MAX_SIDE or image.width * image.height > MAX_PIXELS or min(image.size) < 1:
            raise DatasetError(
                "picture too large", expected=f"sides up to {MAX_SIDE}, at most {MAX_PIXELS} pixels",
                found=f"{image.width}x{image.height}", where=where,
            )  # fmt: skip
        yield image


def decode_jpeg(content: bytes) -> NDArray[np.uint8]:
    """Decode a grey or colour JPEG strictly: the pixels are Pillow's, but what libjpeg-turbo warns of is an error.

    Args:
        content: bytes of the file.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: cut off, damaged, or of a layout that the decoder does not know; says which.
    """
    import simplejpeg

    pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(content, "RGB", strict=True)
    return pixels


def _loaded(content: bytes, where: Where) -> Image.Image:
    """Decode completely, after the checks that the library leaves out."""
    from PIL import Image

    with _opened(content, where) as image:
        try:
            count = getattr(image, "n_frames", 1)
        except Exception as error:
            raise _damaged(error, where) from error
        if count > 1 and image.format != "MPO":
            _refuse("a picture of several frames or pages", f"{count} frames", where, "export single frames")
        try:
            if image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB"):
                result = Image.fromarray(decode_jpeg(content))
                result.info = dict(image.info)
            else:
                if image.format == "PNG":
                    with _opened(content, where) as again:
                        again.verify()  # checksums of all chunks, which loading skips
                image.load()
                result = image.copy()  # keeps pixels and tags without the file
        except Exception as error:  # the libraries raise a dozen types for damaged data
            raise _damaged(error, where) from error
        result.format = image.format
        return result


def _damaged(error: Exception, where: Where) -> DatasetError:
    text = " ".join(str(error).split()) or type(error).__name__
    fix = "copy or export the file again; if this is how its camera wrote it, save it again with an image editor"
    return DatasetError(f"a truncated or damaged picture: {text}", where=where, fix=fix)


def _orientation(image: Image.Image, where: Where) -> int:
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception as error:
        raise _damaged(error, where) from error
    return value if isinstance(value, int) and 2 <= value <= 8 else 1


def _bit_depth(image: Image.Image, content: bytes) -> int:
    """Bits per channel in the file, which the library may have reduced to 8."""
    if image.format == "PNG":
        return content[_PNG_BIT_DEPTH]
    if image.format == "PPM":
        header = _PNM.match(content)
        return 16 if header is not None and int(header[4]) > 255 else 8
    if image.format == "TIFF":
        bits = np.asarray(getattr(image, "tag_v2", {}).get(_BITS_TAG, (8,)))
        return int(bits.max()) if bits.size and bits.dtype.kind in "iu" else 8
    return 8


def _numbers(image: Image.Image, content: bytes, where: Where) -> NDArray[np.uint16]:
    """The values of a map as they are in the file; of a PGM, the library would stretch them to its own range."""
    if image.format != "PPM":
        return np.asarray(image).astype(np.uint16)
    header = _PNM.match(content)
    if header is None or header[1] != b"P5":
        raise DatasetError("not a binary grey PGM", expected="P5", found=content[:2], where=where)
    dtype = np.dtype(">u2") if int(header[4]) > 255 else np.dtype(np.uint8)
    values = np.frombuffer(content, dtype, image.width * image.height, header.end())
    return values.reshape(image.height, image.width).astype(np.uint16)


def _from_profile(image: Image.Image, content: bytes, where: Where) -> Image.Image:
    """A CMYK picture in sRGB, by the profile in the file."""
    from PIL import ImageCms

    profile = image.info.get("icc_profile")
    if not profile:
        _refuse("a CMYK picture without a colour profile", _describe(image, content), where, "convert it to RGB")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except Exception as error:
        raise DatasetError(f"a CMYK picture with an unusable colour profile: {error}", where=where) from error
    assert converted is not None
    converted.format = None  # its bytes don't show these pixels
    return converted


def _check_size(image: Image.Image, size: Size | None, where: Where) -> None:
    if size is not None and (image.height, image.width) != tuple(size):
        raise DatasetError(
            "a picture of another size than the rest", expected=f"{size[1]}x{size[0]}",
            found=f"{image.width}x{image.height}", where=where,
        )  # fmt: skip


def _describe(image: Image.Image, content: bytes) -> str:
    return f"{image.format} of mode {image.mode}, {_bit_depth(image, content)} bits per channel"


def _refuse(problem: str, found: str, where: Where, fix: str) -> NoReturn:
    raise DatasetError(problem, found=found, where=where, fix=fix)
