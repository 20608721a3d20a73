"""The networks against values that DeepFaceLab computed (section 14 of the model reference)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from core.errors import UsageError
from tests.dfl_vectors import filled, five, symbolic, waves

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


# Section 4.7: R, archi, ae/e/d/m, then the weights of the encoder, of an inter and of a decoder.
COUNTS = (
    (96, "df-ud", (128, 64, 64, 16), (4_306_560, 3_098_368, 15_444_701)),
    (128, "df", (256, 64, 64, 22), (4_306_560, 14_959_872, 19_136_000)),
    (128, "df-ud", (256, 64, 64, 22), (4_306_560, 11_801_856, 19_181_291)),
    (128, "liae", (256, 64, 64, 22), (4_306_560, 26_249_472, 38_157_824)),
    (128, "liae-ud", (256, 64, 64, 22), (4_306_560, 19_933_440, 38_203_115)),
    (192, "liae-ud", (256, 64, 64, 22), (4_306_560, 33_050_880, 38_203_115)),
    (224, "df-t", (256, 64, 64, 22), (15_654_144, 19_318_016, 34_410_688)),
    (224, "df-udt", (256, 64, 64, 22), (15_654_144, 9_646_592, 34_455_979)),
    (224, "liae-udt", (256, 64, 64, 22), (15_654_144, 12_870_400, 53_477_803)),
    (256, "df-ud", (256, 64, 64, 22), (4_306_560, 40_125_696, 19_181_291)),
    (256, "liae-ud", (256, 64, 64, 22), (4_306_560, 51_415_296, 38_203_115)),
    (320, "liae-udt", (384, 72, 72, 24), (19_811_232, 51_686_784, 77_908_261)),
)


@pytest.mark.parametrize(("resolution", "text", "dims", "counts"), COUNTS)
def test_networks_have_dfls_numbers_of_weights(nets, resolution, text, dims, counts):
    archi = nets.Archi.parse(text, resolution, *dims)
    builders = (nets.build_encoder, nets.build_inter, nets.build_decoder)
    assert tuple(symbolic(build, archi).count_params() for build in builders) == counts


@pytest.mark.parametrize("family", ["df", "liae"])
def test_every_combination_of_letters_fits_together(nets, family):
    for size in range(5):
        for letters in itertools.combinations("udtc", size):
            archi = nets.Archi.parse(f"{family}-{''.join(letters)}".rstrip("-"), 96, 16, 4, 6, 8)
            encoder, inter, decoder = (
                symbolic(build, archi) for build in (nets.build_encoder, nets.build_inter, nets.build_decoder)
            )
            height, width, channels = inter.output.shape[1:]
            assert encoder.output.shape == inter.input.shape
            assert (height, width, channels * (1 if family == "df" else 2)) == archi.code_shape
            assert decoder.output["face"].shape == (None, 96, 96, 3)
            assert decoder.output["mask"].shape == (None, 96, 96, 1)


def test_amp_computes_what_dfl_computes(nets):
    archi = nets.AmpArchi(96, ae_dims=64, inter_dims=128, e_dims=16, d_dims=16, d_mask_dims=16)
    vector = filled(nets.build_amp_encoder(archi))(waves(2, 96))
    src, dst = (filled(nets.build_amp_inter(archi, name=name))(vector) for name in ("inter_src", "inter_dst"))
    decoder = filled(nets.build_decoder(archi))
    assert src.shape == (2, *archi.code_shape)

    found = {
        "dst_mask": decoder(dst)["mask"],
        "face 0.3": decoder(nets.morph_codes(src, dst, 0.3))["face"],
        "mask 0.3": decoder(nets.morph_codes(src, dst, np.float32([0.3])))["mask"],
        "face 1.0": decoder(nets.morph_codes(src, dst, np.float32([1, 1])))["face"],
    }
    wanted = {
        "dst_mask": (0.411310, 0.263602, 0.543917, 0.865466, 0.447133),
        "face 0.3": (0.588191, 0.425972, 0.536475, 0.146776, 0.497667),
        "mask 0.3": (0.410660, 0.263179, 0.474629, 0.315525, 0.397397),
        "face 1.0": (0.587562, 0.424992, 0.623964, 0.005539, 0.415160),
    }
    for name, numbers in wanted.items():
        np.testing.assert_allclose(five(found[name].numpy()), numbers, atol=1e-5, err_msg=name)


def test_amp_has_dfls_numbers_of_weights(nets):
    archi = nets.AmpArchi(224, 256, 1024, 64, 64, 22)
    builders = (nets.build_amp_encoder, nets.build_amp_inter, nets.build_decoder)
    counts = [symbolic(build, archi).count_params() for build in builders]
    assert counts == [22_076_928, 12_895_232, 53_477_803]


def test_amp_needs_multiples_of_32(nets):
    with pytest.raises(UsageError, match="multiple of 32, not 112"):
        nets.AmpArchi(112, 32, 32, 16, 16, 16)


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
