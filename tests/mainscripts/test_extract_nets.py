"""`extract` with S3FD and FAN, whose weights are random here: all the way through the command."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

import facelib
import main
from benchmarks.extract import random_weights
from core import safe_pickle
from core.paths import list_images
from mainscripts.extract_log import LOG_NAME


@pytest.fixture(scope="module")
def weights_folder(tmp_path_factory):
    """Files of DFL's names and shapes; what S3FD takes for a face is where its coarsest cells are."""
    folder = tmp_path_factory.mktemp("weights")
    for name in ("S3FD", "2DFAN"):
        tensors = {f"{key}:0": value for key, value in random_weights(name).items()}
        (folder / f"{name}.npy").write_bytes(safe_pickle.dumps(tensors))
    return folder


@pytest.fixture
def frames(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(1, 4):
        cv2.imwrite(str(folder / f"{number:05}.png"), rng.integers(0, 256, (240, 320, 3), dtype=np.uint8))
    (folder / "00002.png").write_bytes(b"no picture")
    return folder


def extract(frames, output, *flags: str) -> int:
    words = ["extract", "--input-dir", str(frames), "--output-dir", str(output), *flags, "--no-prompt"]
    return main.main(words)


@pytest.mark.slow
def test_auto_takes_dfls_networks_where_their_weights_are(
    frames, tmp_path, weights_folder, monkeypatch, capsys
):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "nothing"))
    monkeypatch.setenv("FACELAB_WEIGHTS", str(weights_folder))
    output = tmp_path / "aligned"
    assert extract(frames, output, "--image-size", "256", "--max-faces-from-image", "1", "--cpu-only") == 0
    shown = capsys.readouterr()
    assert "auto takes s3fd+fan" in shown.out and "another checksum" in shown.err
    assert "skipped 00002.png" in shown.out
    assert [path.name for path in list_images(output)] == ["00001_0.jpg", "00003_0.jpg"]
    pipeline = facelib.Pipeline("s3fd", "fan", max_faces=1)
    for stem in ("00001", "00003"):
        metadata = facelib.read_metadata(output / f"{stem}_0.jpg")
        (face,) = pipeline.faces(cv2.imread(str(frames / f"{stem}.png")))
        assert tuple(metadata.source_rect) == face.rect
        assert np.median(np.abs(metadata.source_landmarks - face.landmarks)) < 0.5
    header = json.loads((output / LOG_NAME).read_text(encoding="utf-8").splitlines()[0])["settings"]
    assert (
        header["networks"] == "s3fd+fan" and header["detector"] == "s3fd" and header["asked"] == "auto+auto"
    )

    # float32 on demand, which is what auto takes where the processor has no bfloat16
    exact = ("--precision", "float32", "--image-size", "256", "--max-faces-from-image", "1")
    assert extract(frames, tmp_path / "exact", *exact) == 0
    (face,) = facelib.Pipeline("s3fd", "fan", max_faces=1, precision="float32").faces(
        cv2.imread(str(frames / "00001.png"))
    )
    metadata = facelib.read_metadata(tmp_path / "exact" / "00001_0.jpg")
    np.testing.assert_allclose(metadata.source_landmarks, face.landmarks, atol=0.01)

    # what began with S3FD does not go on with others: the weights are gone, and that is said
    monkeypatch.delenv("FACELAB_WEIGHTS")
    monkeypatch.setenv("FACELAB_WEIGHTS_URL", "http://127.0.0.1:9/")
    cv2.imwrite(str(frames / "00004.png"), np.zeros((240, 320, 3), np.uint8))
    assert extract(frames, output, "--detector", "auto") == 0
    assert "taking blazeface instead" in capsys.readouterr().out


def test_asking_for_weights_that_cannot_be_had_falls_back_in_one_line(frames, tmp_path, monkeypatch, capsys):
    from facelib import weights

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "nothing"))
    monkeypatch.delenv("FACELAB_WEIGHTS", raising=False)
    monkeypatch.setenv(weights.URL_VARIABLE, "http://127.0.0.1:9/")  # nobody listens there
    output = tmp_path / "aligned"
    assert extract(frames, output, "--detector", "s3fd") == 0
    shown = capsys.readouterr().out
    assert "taking blazeface instead" in shown and "Finding faces with blazeface+facemesh" in shown
    assert extract(frames, output, "--detector", "s3fd") == 0  # goes on with what it came to
    assert "made with detector" not in capsys.readouterr().out
