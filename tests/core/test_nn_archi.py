"""The networks against values that DeepFaceLab computed (section 14 of the model reference)."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import UsageError
from tests.dfl_vectors import filled, five, waves

ARCHIS = {
    "df": {
        "code": (0.399638, 0.694478, -0.016089, 0.625137, 1.642162),
        "image": (0.328534, 0.337466, 0.318626, 0.130960, 0.244721),
        "mask": (0.237842, 0.134026, 0.364373, 0.596239, 0.337881),
    },
    "df-ud": {
        "code": (0.715884, 1.215722, -0.338886, -0.015254, 1.300104),
        "image": (0.475688, 0.374726, 0.285524, 0.000385, 0.951972),
        "mask": (0.196056, 0.152100, 0.415238, 0.029469, 0.316597),
    },
    "liae-ud": {
        "code": (0.653622, 1.166153, 0.692132, 1.243896, -0.299796),
        "image": (0.624107, 0.389693, 0.103043, 0.076767, 0.541329),
        "mask": (0.486790, 0.213250, 0.660158, 0.445662, 0.449446),
    },
    "df-t": {
        "code": (-0.042559, 0.851165, 0.212096, -0.019288, -0.511783),
        "image": (0.389886, 0.370941, 0.470845, 0.001909, 0.469313),
        "mask": (0.259987, 0.125736, 0.421014, 0.284312, 0.400510),
    },
    "liae-udt": {
        "code": (-0.123981, 2.127905, -0.996454, -1.644868, -1.132976),
        "image": (0.582608, 0.408146, 0.415801, 0.010178, 0.577122),
        "mask": (0.418810, 0.247158, 0.471766, 0.556939, 0.353649),
    },
    "liae-udtc": {
        "code": (0.103917, 2.009909, -3.435241, 0.837931, -0.300264),
        "image": (0.499099, 0.281375, 0.621046, 0.879460, 0.328208),
        "mask": (0.520086, 0.216884, 0.471520, 0.381856, 0.563094),
    },
}


@pytest.fixture(scope="module")
def nets():
    from core.nn import devices

    devices.prepare(cpu_only=True)
    from core.nn import archi

    return archi


@pytest.mark.parametrize("text", ARCHIS)
def test_networks_compute_what_dfl_computes(nets, text):
    archi = nets.Archi.parse(text, 64, ae_dims=32, e_dims=16, d_dims=16, d_mask_dims=16)
    vector = filled(nets.build_encoder(archi))(waves(2, 64))
    if archi.family == "df":
        code = filled(nets.build_inter(archi))(vector).numpy()
        decoder = filled(nets.build_decoder(archi, name="decoder_src"))
    else:
        halves = [filled(nets.build_inter(archi, name=name))(vector) for name in ("inter_B", "inter_AB")]
        code = np.concatenate(halves, axis=-1)
        decoder = filled(nets.build_decoder(archi))
    out = decoder(code)

    assert code.shape[1:] == archi.code_shape
    tolerance = 1e-2 if "c" in archi.letters else 1e-5
    np.testing.assert_allclose(five(code), ARCHIS[text]["code"], atol=tolerance)
    np.testing.assert_allclose(five(out["face"].numpy()), ARCHIS[text]["image"], atol=tolerance)
    np.testing.assert_allclose(five(out["mask"].numpy()), ARCHIS[text]["mask"], atol=tolerance)
    np.testing.assert_array_equal(nets.mask_only(decoder)(code), out["mask"])


def test_quick96_has_dfls_number_of_weights(nets):
    archi = nets.Archi.parse("df-ud", 96, ae_dims=128, e_dims=64, d_dims=64, d_mask_dims=16)
    counts = [
        build(archi).count_params() for build in (nets.build_encoder, nets.build_inter, nets.build_decoder)
    ]
    assert counts == [4_306_560, 3_098_368, 15_444_701]


@pytest.mark.parametrize(
    ("text", "resolution"), [("dg", 64), ("df-uu", 64), ("df-x", 64), ("df-ud", 80), ("df-t", 80)]
)
def test_impossible_architectures_are_refused(nets, text, resolution):
    with pytest.raises(UsageError):
        nets.Archi.parse(text, resolution, 32, 16, 16, 16)


def test_weights_depend_on_the_seed_alone(nets):
    archi = nets.Archi.parse("df-ud", 32, ae_dims=8, e_dims=4, d_dims=4, d_mask_dims=4)
    first, again, other = (nets.build_decoder(archi, seed=seed) for seed in (5, 5, 6))
    for a, b, c in zip(first.weights, again.weights, other.weights):
        np.testing.assert_array_equal(a, b)
        assert len(a.shape) == 1 or np.abs(a - c).max() > 0


def test_half_precision_keeps_float32_weights_and_outputs(nets):
    archi = nets.Archi.parse("df-ud", 32, ae_dims=8, e_dims=4, d_dims=4, d_mask_dims=4)
    decoder = nets.build_decoder(archi, "mixed_bfloat16")
    out = decoder(np.zeros((1, *archi.code_shape), np.float32))
    assert {weight.dtype for weight in decoder.weights} == {"float32"}
    assert out["face"].dtype == out["mask"].dtype == np.float32


def test_strided_convolution_pads_two_on_every_side(nets):
    from core.nn.layers import Conv

    conv, image = Conv(1, 5, stride=2, name="conv"), np.zeros((1, 8, 8, 1), np.float32)
    image[0, 1, 3, 0] = 1.0
    conv(image)
    kernel = np.arange(25, dtype=np.float32).reshape(5, 5, 1, 1)
    conv.weight.assign(kernel)
    # Output (i, j) sees rows 2i-2 .. 2i+2 and columns 2j-2 .. 2j+2.
    out = conv(image).numpy()[0, :, :, 0]
    assert out[0, 1] == kernel[3, 3, 0, 0]
    assert out[1, 2] == kernel[1, 1, 0, 0]
    assert out[0, 0] == 0
