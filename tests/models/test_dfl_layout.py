"""The tables of DeepFaceLab's weights say what its own files and our networks say."""

from __future__ import annotations

import json
import math

import pytest

from core.errors import CheckpointError
from models.dfl_layout import (
    code_discriminator_shapes,
    dims_of,
    gan_shapes,
    network_shapes,
    slot_key,
)

# Resolution, architecture, ae, e, d and mask dims, and all weights together; counted in DeepFaceLab
COUNTS = [
    (128, "df", 256, 64, 64, 22, 57_538_432),
    (128, "df-ud", 256, 64, 64, 22, 54_470_998),
    (128, "liae-ud", 256, 64, 64, 22, 82_376_555),
    (224, "df-t", 256, 64, 64, 22, 103_793_536),
    (224, "df-udt", 256, 64, 64, 22, 94_212_694),
    (320, "liae-udt", 384, 72, 72, 24, 201_093_061),
]


def options(resolution: int, archi: str, ae: int, e: int, d: int, mask: int) -> dict:
    return {
        "resolution": resolution,
        "archi": archi,
        "ae_dims": ae,
        "e_dims": e,
        "d_dims": d,
        "d_mask_dims": mask,
    }


def count(shapes: dict) -> int:
    return sum(map(math.prod, shapes.values()))


@pytest.mark.parametrize("row", COUNTS, ids=lambda row: f"{row[1]}-{row[0]}")
def test_as_many_numbers_as_deepfacelab_has(row):
    assert count(network_shapes(dims_of("SAEHD", options(*row[:-1])))) == row[-1]


def test_amp_and_the_discriminators_too():
    amp = network_shapes(dims_of("AMP", {**options(224, "", 256, 64, 64, 22), "inter_dims": 1024}))
    assert count(amp) == 101_345_195
    assert count({p: s for p, s in amp.items() if not p.startswith("inter_")}) == 75_554_731
    assert count(gan_shapes("D_src", 16, 2)) == 55_154
    assert count(gan_shapes("GAN", 32, 6)) == 16_763_490
    assert count(code_discriminator_shapes(256, 2)) == 2_229_505
    assert count(code_discriminator_shapes(256, 3)) == 6_949_633


@pytest.mark.parametrize(("folder", "slots"), [("quick96", ("acc",)), ("saehd_df-ud_16", ("m", "v"))])
def test_names_shapes_and_order_of_deepfacelabs_own_files(shared_data, folder, slots):
    spec = json.loads((shared_data / "dfl" / folder / "spec.json").read_text())
    shapes = network_shapes(dims_of(spec["model"], spec["options"]))
    assert list(shapes.items()) == [
        (f"{name.removesuffix('.npy')}/{key.removesuffix(':0')}", tuple(shape))
        for name, entries in spec["files"].items()
        for key, shape in entries
    ]
    keys = [key for key, _ in spec["opt_files"]["src_dst_opt.npy"]]
    assert keys == ["iters:0", *(slot_key(slot, path) for slot in slots for path in shapes)]


@pytest.mark.parametrize("archi", ["df", "df-c", "df-ud", "df-t", "df-udt", "liae", "liae-ud", "liae-udtc"])
def test_our_networks_have_the_same_weights(archi):
    from core.nn import archi as nets
    from core.nn.layers import part_weights

    built = nets.Archi.parse(archi, 64, 16, 16, 16, 18)
    parts = {"df": ("inter", "decoder_src"), "liae": ("inter_AB", "decoder")}[built.family]
    networks = {
        "encoder": nets.build_encoder(built),
        parts[0]: nets.build_inter(built, name=parts[0]),
        parts[1]: nets.build_decoder(built, name=parts[1]),
    }
    wanted = network_shapes(dims_of("SAEHD", options(64, archi, 16, 16, 16, 18)))
    for name, network in networks.items():
        shapes = {path: tuple(weight.shape) for path, weight in part_weights(network).items()}
        assert shapes == {path: shape for path, shape in wanted.items() if path.startswith(f"{name}/")}


def test_options_that_do_not_say_the_sizes_are_refused():
    with pytest.raises(CheckpointError, match="lack a size"):
        dims_of("SAEHD", {"resolution": 64})
    with pytest.raises(CheckpointError, match="architecture 'original'"):
        dims_of("SAEHD", {**options(64, "original", 16, 16, 16, 16)})
