from __future__ import annotations

from dataclasses import replace

import pytest

from tests.dfl_vectors import symbolic


@pytest.fixture(scope="module")
def parts():
    from core.nn import devices

    devices.prepare(cpu_only=True)
    from core.nn import archi, discriminators

    sizes = archi.Archi.parse("df-ud", 64, ae_dims=32, e_dims=16, d_dims=16, d_mask_dims=16)
    return {
        "encoder": symbolic(archi.build_encoder, sizes),
        "inter": symbolic(archi.build_inter, sizes),
        "decoder_src": symbolic(archi.build_decoder, sizes),
        "D_src": symbolic(discriminators.build_patch_discriminator, 64, 16, 16),
    }


def of(parts, batch=4, slots=2, compute_bytes=4):
    from core.nn.memory import estimate

    return estimate(parts, dict.fromkeys(parts, 2 * batch), slots, compute_bytes)


def test_weights_are_counted_and_slots_go_with_them(parts):
    found = of(parts)
    count = sum(part.count_params() for part in parts.values())
    assert (found.parameters, found.weights, found.slots) == (count, 4 * count, 8 * count)
    assert of(parts, slots=1).slots == 4 * count
    halved = of(parts, compute_bytes=2)
    assert (halved.weights, halved.gradients) == (6 * count, 2 * count)


def test_activations_of_an_encoder_are_its_maps(parts):
    from core.nn.memory import ACTIVATIONS

    maps = 64 * 64 * 3 + sum(16 * 2**n * (32 // 2**n) ** 2 for n in range(4)) + 2 * 128 * 4**2
    padded = sum(channels * (side + 4) ** 2 for side, channels in ((64, 3), (32, 16), (16, 32), (8, 64)))
    found = of({"encoder": parts["encoder"]}, batch=1).activations
    assert found == int(ACTIVATIONS * 2 * 4 * (maps + padded))


def test_activations_go_with_the_batch_and_nothing_else_does(parts):
    small, large = of(parts, batch=2), of(parts, batch=6)
    assert large.activations == pytest.approx(3 * small.activations, abs=20)
    assert large.total - small.total == pytest.approx(large.activations - small.activations, abs=20)


def test_a_part_that_no_sample_passes_costs_its_weights_alone(parts):
    from core.nn.memory import estimate

    found = estimate(parts, {"encoder": 8}, 2, 4).parts["inter"]
    count = parts["inter"].count_params()
    assert found == replace(found, weights=4 * count, slots=0, gradients=0, activations=0)


def test_hints_begin_with_the_most_effective_and_fit_the_case(parts):
    hints = of(parts, batch=16).hints()
    sizes = [int(hint.split("about ")[1].split()[0]) for hint in hints]
    assert sizes == sorted(sizes, reverse=True)
    assert hints[0].startswith(("half the batch size", "computing in 16 bits"))
    assert {"d_dims", "gan_dims", "ae_dims"} <= set(" ".join(hints).replace(":", "").split())
    few = " ".join(of(parts, slots=1, compute_bytes=2).hints())
    assert "RMSprop" not in few and "16 bits" not in few


def test_a_hint_names_amps_own_option(parts):
    from core.nn.memory import MemoryEstimate

    share = of(parts).parts["inter"]
    found = MemoryEstimate({"inter_src": share, "inter_dst": share}, 2, half=True)
    hints = " ".join(found.hints())
    assert "inter_dims" in hints and "ae_dims" not in hints


def test_a_network_beside_the_others_takes_room_and_has_no_weights_here(parts):
    found, without = of(parts).beside("VGG16", 1e9), of(parts)
    assert found.parameters == without.parameters and found.weights == without.weights
    assert found.total - without.total == pytest.approx(1.6e9, rel=0.01)
    assert not any("VGG16" in hint for hint in found.hints())


def test_it_says_what_it_counted_in_one_line(parts):
    text = of(parts).describe()
    assert "million weights" in text and "activations" in text and "\n" not in text
