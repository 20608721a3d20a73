from __future__ import annotations

import os
import socket
import struct

import cv2
import numpy as np
import pytest

from core import imageio, paths
from core.errors import FileFormatError, SwapError

X, Y = np.meshgrid(np.arange(0, 240, 4), np.arange(0, 160, 4))
GRADIENT = np.dstack([X, Y, np.full_like(X, 9)]).astype(np.uint8)


@pytest.mark.parametrize("name", ["a b.png", "лицо.tif", "顔.PNG"])
def test_lossless_round_trip_on_any_path(tmp_path, name):
    imageio.write_image(tmp_path / name, GRADIENT)
    np.testing.assert_array_equal(imageio.read_image(tmp_path / name), GRADIENT)


def test_depth_alpha_and_grey_become_8_bit_bgr(tmp_path):
    deep = GRADIENT.astype(np.uint16) * 257
    alpha = np.dstack([deep, np.full(deep.shape[:2], 7, np.uint16)])
    for name, image in {"deep.png": deep, "alpha.png": alpha, "deep.tif": deep}.items():
        (tmp_path / name).write_bytes(cv2.imencode(name[-4:], image)[1].tobytes())
        np.testing.assert_array_equal(imageio.read_image(tmp_path / name), GRADIENT)
    (tmp_path / "grey.png").write_bytes(cv2.imencode(".png", GRADIENT[..., 0])[1].tobytes())
    assert imageio.read_image(tmp_path / "grey.png").shape == (40, 60, 3)


def test_exif_orientation_is_applied(tmp_path):
    jpeg = cv2.imencode(".jpg", GRADIENT)[1].tobytes()
    # TIFF, little endian, one entry: tag 0x112 (orientation), type short, value 6 (turn clockwise to view)
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x112, 3, 1, 6, 0, 0)
    body = b"Exif\0\0" + tiff
    (tmp_path / "turned.jpg").write_bytes(
        jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]
    )
    image = imageio.read_image(tmp_path / "turned.jpg")
    assert image.shape == (60, 40, 3)
    assert np.abs(image.astype(int) - np.rot90(GRADIENT, -1)).mean() < 3


@pytest.mark.parametrize("damage", [lambda d: d[: len(d) // 2], lambda d: b"", lambda d: b"not an image"])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_damaged_files_are_named(tmp_path, suffix, damage):
    path = tmp_path / f"broken{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    path.write_bytes(damage(imageio.encode_image(suffix, noise)))
    with pytest.raises(FileFormatError, match="broken"):
        imageio.read_image(path)


def test_listing_takes_images_of_any_case_in_order(tmp_path):
    for name in ("b.PNG", "a.jpg", "c.txt", ".hidden.png", "d.TIFF"):
        (tmp_path / name).touch()
    assert [p.name for p in paths.list_images(tmp_path)] == ["a.jpg", "b.PNG", "d.TIFF"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes in folders are POSIX")
def test_what_can_never_be_an_image_is_not_waited_for(tmp_path):
    (tmp_path / "a.jpg").touch()
    os.mkfifo(tmp_path / "pipe.png")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(tmp_path / "socket.png"))  # its path may have 100 characters only
    targets = {
        "device": "/dev/null",
        "to_pipe": "pipe.png",
        "file": "a.jpg",
        "gone": "no.png",
        "self": "self.png",
    }
    for name, target in targets.items():
        (tmp_path / f"{name}.png").symlink_to(target)
    (tmp_path / "folder.png").mkdir()
    listed = [p.name for p in paths.list_images(tmp_path)]
    assert listed == ["a.jpg", "file.png", "folder.png", "gone.png", "self.png"]
    kinds = {"device": "a device", "pipe": "a pipe", "to_pipe": "a pipe", "socket": "a socket"}
    for name, kind in kinds.items():
        with pytest.raises(FileFormatError, match=rf"{name}\.png: cannot be read \(this is {kind}"):
            imageio.read_image(tmp_path / f"{name}.png")


def test_wildcards_find_the_video_by_its_stem(tmp_path):
    (tmp_path / "Data_Src.MKV").touch()
    assert paths.resolve_wildcard(tmp_path / "data_src.*").name == "Data_Src.MKV"
    with pytest.raises(SwapError, match="data_dst"):
        paths.resolve_wildcard(tmp_path / "data_dst.*")


def test_missing_folders_and_files_are_named(tmp_path):
    with pytest.raises(SwapError, match=r"nowhere.*does not exist"):
        paths.require_folder(tmp_path / "nowhere", "the folder of frames")
    (tmp_path / "file").touch()
    with pytest.raises(SwapError, match="this is a file"):
        paths.require_folder(tmp_path / "file", "the folder of frames")
    with pytest.raises(SwapError, match="the video must be a file, this is a folder"):
        paths.require_file(tmp_path, "the video")
    with pytest.raises(SwapError, match="cannot be written"):
        paths.require_writable_folder(tmp_path / "file" / "sub", "the model folder")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="devices and pipes in folders are POSIX")
def test_what_is_neither_file_nor_folder_is_called_what_it_is(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, kind in {"/dev/null": "a device", tmp_path / "pipe": "a pipe"}.items():
        with pytest.raises(SwapError, match=f"must be a file, this is {kind};"):
            paths.require_file(path, "the weight file")
