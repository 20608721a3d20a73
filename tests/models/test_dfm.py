"""Exported networks, run by onnxruntime: DeepFaceLab's names and shapes, and the predictor's pictures."""

from __future__ import annotations

import numpy as np
import pytest

import models
from tests.dfl_vectors import fill, waves

onnx = pytest.importorskip("onnx", reason="onnx cannot be installed here")
ort = pytest.importorskip("onnxruntime", reason="onnxruntime cannot be installed here")

SIZES = {"resolution": 64, "ae_dims": 32, "e_dims": 16, "d_dims": 16, "d_mask_dims": 16}
SAEHD = {name: {**SIZES, "archi": name} for name in ("df-ud", "liae-udt", "df", "liae-udtc")}
HALF = 0.02  # of 1; random networks, whose outputs are steeper than trained ones'


def make(kind: str, sizes: dict, gain: float = 1.0):
    """A model with the reference's weights times `gain`."""
    # what it trains in must not show in the file
    model = models.create_model(kind, models.options_class(kind)(**sizes, precision="bfloat16", seed=3))
    model.load_weights({path: gain * fill(path, shape) for path, shape in model.weight_shapes().items()})
    return model


def session(data: bytes):
    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    return ort.InferenceSession(data, providers=["CPUExecutionProvider"])


def worst(model, run, faces: np.ndarray, **how) -> float:
    """Largest difference between the file's outputs and the float32 predictor's."""
    feed = {"in_face:0": faces}
    if "morph_factor" in how:
        feed["morph_value:0"] = np.float32([how["morph_factor"]])
    found = run.run(None, feed)
    face, mask, dst_mask = model.predictor("float32", **how)(faces)
    for got, wanted in zip(found, (dst_mask, face, mask)):
        assert got.dtype == np.float32 and got.shape == wanted.shape
    return max(float(np.abs(got - wanted).max()) for got, wanted in zip(found, (dst_mask, face, mask)))


def named(values) -> list:
    return [(value.name, value.shape, value.type) for value in values]


@pytest.fixture(scope="module")
def amp():
    return make("AMP", {**SIZES, "inter_dims": 64})


@pytest.fixture(scope="module")
def files(amp) -> dict[bool, bytes]:
    """AMP's file, quantized or not."""
    from models.dfm import dfm_bytes

    return {quantized: dfm_bytes(amp, quantized) for quantized in (False, True)}


@pytest.mark.parametrize(
    "archi", ["df-ud", "liae-udt", *(pytest.param(a, marks=pytest.mark.slow) for a in ("df", "liae-udtc"))]
)
def test_saehd_computes_what_the_predictor_does(archi):
    from models.dfm import dfm_bytes

    # x cos x doubles the smallest rounding error from layer to layer where its inputs are large
    model = make("SAEHD", SAEHD[archi], gain=0.3 if "c" in archi else 1.0)
    run = session(dfm_bytes(model))
    assert named(run.get_inputs()) == [("in_face:0", ["batch", 64, 64, 3], "tensor(float)")]
    for count in (1, 3):
        assert worst(model, run, waves(count, 64)) < 1e-4


def test_amp_computes_what_the_predictor_does_at_any_morph_value(amp, files):
    run = session(files[False])
    assert named(run.get_inputs()) == [
        ("in_face:0", ["batch", 64, 64, 3], "tensor(float)"),
        ("morph_value:0", [1], "tensor(float)"),
    ]
    assert named(run.get_outputs()) == [
        ("out_face_mask:0", ["batch", 64, 64, 1], "tensor(float)"),
        ("out_celeb_face:0", ["batch", 64, 64, 3], "tensor(float)"),
        ("out_celeb_face_mask:0", ["batch", 64, 64, 1], "tensor(float)"),
    ]
    for count in (1, 3):
        for morph in (0.0, 0.3, 0.55, 1.0):
            assert worst(amp, run, waves(count, 64), morph_factor=morph) < 1e-4
    faces = waves(1, 64)
    ends = [run.run(None, {"in_face:0": faces, "morph_value:0": np.float32([v])})[1] for v in (0, 1)]
    assert np.abs(ends[0] - ends[1]).max() > 0.1


def test_quantized_files_convolve_in_float16_and_are_half_as_large(amp, files):
    assert len(files[True]) < 0.6 * len(files[False])
    run = session(files[True])
    assert [value.type for value in (*run.get_inputs(), *run.get_outputs())] == ["tensor(float)"] * 5
    for count, morph in ((1, 0.5), (3, 1.0)):
        assert worst(amp, run, waves(count, 64), morph_factor=morph) < HALF
    weights = onnx.load_from_string(files[True]).graph.initializer
    types = {axes: {tensor.data_type for tensor in weights if len(tensor.dims) == axes} for axes in (2, 4)}
    assert types == {2: {onnx.TensorProto.FLOAT}, 4: {onnx.TensorProto.FLOAT16}}  # dense layers, convolutions


def test_the_file_says_what_it_is(amp, files):
    written = onnx.load_from_string(files[False])
    facts = {entry.key: entry.value for entry in written.metadata_props}
    assert (written.opset_import[0].version, written.ir_version) == (12, 7)
    assert written.producer_name == "Facelab" and "synthetic" in facts["synthetic_media"]
    assert (facts["model"], facts["class"], facts["face_type"]) == ("new", "AMP", "whole_face")
    known = "Add Cast Conv DepthToSpace LeakyRelu Less MatMul Mul ReduceMean Reciprocal Reshape Sigmoid Sqrt"
    known = {*known.split(), "Transpose", "Where"}
    kinds = [node.op_type for node in written.graph.node]
    # a picture is turned where it comes in and goes out, and so is the condition of the mixture
    assert set(kinds) <= known and kinds.count("Transpose") == 5
    weights = sum(len(tensor.raw_data) for tensor in written.graph.initializer)
    assert weights < 1.01 * 4 * sum(np.prod(shape) for shape in amp.weight_shapes().values())  # each once


def test_networks_too_large_for_onnx_are_refused(amp, monkeypatch):
    from core.errors import CheckpointError
    from models import dfm

    monkeypatch.setattr(dfm, "LARGEST_FILE", 1000)
    with pytest.raises(CheckpointError, match="an ONNX file holds"):
        dfm.dfm_bytes(amp)
