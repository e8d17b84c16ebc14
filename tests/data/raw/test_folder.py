"""Nothing outside the raw data is read, whatever names, links and archives say."""

from __future__ import annotations

import stat
import struct
import zipfile
from pathlib import Path

import pytest

from configs.errors import DatasetError, MissingError
from data.raw.folder import RawFolder, RawZip, check_name, natural_key, parse_json


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/etc/passwd", "", "..", "a\\..\\x", "C:x", "C:/x", "a\0b", "a\nb"]
)
def test_names_that_lead_out(name: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="leads out"):
        check_name(name, "list.txt")
    with pytest.raises(DatasetError, match=r"leads out|not a regular file"):
        RawFolder(tmp_path).read(name)


def test_natural_order() -> None:
    assert sorted(["f10.png", "f2.png", "10.png", "9.png", "g1"], key=natural_key) == [
        "9.png",
        "10.png",
        "f2.png",
        "f10.png",
        "g1",
    ]
    assert sorted(["1a", "01a", "a", "1"], key=natural_key)  # digits and letters in one place don't clash


def test_links(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "sub").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret").write_text("s")
    (root / "inside").write_text("i")
    (root / "ok").symlink_to(root / "inside")
    (root / "out").symlink_to(outside / "secret")
    (root / "dir").symlink_to(outside)
    (root / "sub" / "up").symlink_to("../../outside/secret")
    (root / "gone").symlink_to("nowhere")
    raw = RawFolder(root)
    assert raw.read("ok") == b"i" and raw.names() == ["gone", "inside", "ok", "out"] and raw.folders() == ["dir", "sub"]
    for name in ("out", "dir/secret", "sub/up", "dir"):
        with pytest.raises(DatasetError, match="leads out of the raw data"):
            raw.path(name)
    for name in ("gone", "none"):
        with pytest.raises(MissingError, match="missing"):
            raw.read(name)
    with pytest.raises(DatasetError, match="not a regular file"):
        raw.read("sub")
    with pytest.raises(DatasetError, match="too large"):
        raw.read("inside", limit=0)
    (tmp_path / "link").symlink_to(root)
    assert RawFolder(tmp_path / "link").read("inside") == b"i"  # the root itself may be a link
    with pytest.raises(MissingError):
        RawFolder(root / "inside")
    with pytest.raises(MissingError):
        raw.names("none")


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def test_members(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"m/10.png": b"ten", "m/2.png": b"two", "m/": b""})
    with RawZip(path) as found:
        assert found.names == ["m/2.png", "m/10.png"] and found.read("m/2.png") == b"two" and "m/10.png" in found
        with pytest.raises(MissingError, match="member") as caught:
            found.read("m/3.png")
        assert f"{path}:m/3.png" in str(caught.value)


@pytest.mark.parametrize("name", ["../x.png", "/x.png", "m/../../x.png", "m\\..\\x.png"])
def test_slips(tmp_path: Path, name: str) -> None:
    path = archive(tmp_path / "a.zip", {"fine.png": b"1", "m" * len(name): b"2"})
    content = path.read_bytes().replace(b"m" * len(name), name.encode())
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="leads out"):
        RawZip(path)


def test_unsafe_archives(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "w") as file:
        file.writestr("x", b"1")
        file.writestr("x", b"2")
    with pytest.raises(DatasetError, match="two members of one name"):
        RawZip(path)
    with zipfile.ZipFile(path, "w") as file:
        link = zipfile.ZipInfo("x")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(link, "/etc/passwd")
    with pytest.raises(DatasetError, match="symbolic link"):
        RawZip(path)
    archive(path, {"x": bytes(3 << 20)})
    assert len(RawZip(path).read("x")) == 3 << 20
    with pytest.raises(DatasetError, match="too large"):
        RawZip(path, limit=1 << 20)
    content = path.read_bytes()
    at = content.rfind(b"PK\x01\x02") + 24  # the uncompressed size in the directory
    path.write_bytes(content[:at] + struct.pack("<I", 1 << 29) + content[at + 4 :])
    with pytest.raises(DatasetError, match="too large"):
        RawZip(path)


def test_broken_archives(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"x.png": bytes(range(256)) * 20, "y.png": b"y" * 300})
    whole = path.read_bytes()
    for broken, message in ((b"", "empty"), (whole[: len(whole) // 2], "cut off"), (b"no zip at all" * 9, "cut off")):
        path.write_bytes(broken)
        with pytest.raises(DatasetError, match=message) as caught:
            RawZip(path)
        assert str(path) in str(caught.value)
    path.write_bytes(whole[:60] + bytes([whole[60] ^ 255]) + whole[61:])
    with RawZip(path) as found:
        with pytest.raises(DatasetError, match="damaged member"):
            found.read("x.png")
        assert found.read("y.png") == b"y" * 300
    with pytest.raises(MissingError):
        RawZip(tmp_path / "none.zip")


def test_json() -> None:
    assert parse_json(b'\xef\xbb\xbf{"a": [1, 2.5, null]}', "x") == {"a": [1, 2.5, None]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"{", "not a readable JSON"),
        (b'{"a": 1,}', "not a readable JSON"),
        (b'{"a": NaN}', "NaN is not a valid JSON number"),
        (b'{"a": -Infinity}', "-Infinity is not a valid JSON number"),
        (b'{"a": 1e400}', "1e400 is not a valid JSON number"),
        (b'{"a": {"b": 1, "c": 2, "b": 3}}', "repeats in one object"),
        (b'"\xff\xfe"', "not a readable JSON"),
        (b"[" * 100_000, "not a readable JSON"),
    ],
)
def test_strict_json(text: bytes, message: str) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        parse_json(text, "/raw/transforms.json")
    assert "/raw/transforms.json" in str(caught.value)


@pytest.mark.parametrize("name", ["loop", "a" * 5000, "\ud800", "loop/inside"])
def test_names_that_can_not_be_looked_up(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    raw = RawFolder(tmp_path)
    for work in (raw.path, raw.exists, raw.read, raw.names, raw.folders):
        with pytest.raises((DatasetError, MissingError)):
            work(name)
