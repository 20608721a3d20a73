"""The discriminators against values that DeepFaceLab computed (section 14 of the model reference)."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import UsageError
from tests.dfl_vectors import filled, five, symbolic, uniform, waves

PATCHES = {
    16: {
        "center": (-0.558409, 0.492501, 0.273542, -0.473212, -1.618319),
        "out": (0.296889, 0.612129, 0.335354, -0.616174, 0.111844),
    },
    28: {
        "center": (-0.266988, 0.374568, -0.063967, -0.392357, -0.302502),
        "out": (0.139567, 1.199863, 0.040025, -3.311278, 0.367306),
    },
}

# Weights at 16 and 32 base channels (section 5.1).
COUNTS = {
    8: (55_154, 219_874),
    16: (233_650, 933_218),
    **dict.fromkeys((24, 32), (946_994, 3_785_314)),
    **dict.fromkeys((28, 36, 40, 48, 64), (3_799_090, 9_684_578)),
    80: (9_698_354, 16_763_490),
}


@pytest.fixture(scope="module")
def nets():
    from core.nn import devices

    devices.prepare(cpu_only=True)
    from core.nn import discriminators

    return discriminators


@pytest.mark.parametrize("patch", PATCHES)
def test_patch_discriminator_computes_what_dfl_computes(nets, patch):
    found = filled(nets.build_patch_discriminator(64, patch, 16))(waves(2, 64))
    for name, wanted in PATCHES[patch].items():
        assert found[name].shape == (2, *({"center": (8, 8), "out": (64, 64)}[name]), 1)
        np.testing.assert_allclose(five(found[name].numpy()), wanted, atol=1e-5)


def test_code_discriminator_computes_what_dfl_computes(nets):
    found = filled(nets.build_code_discriminator((8, 8, 32)))(uniform((2, 8, 8, 32), 7).astype(np.float32))
    assert found.shape == (2, 3, 3, 1)
    np.testing.assert_allclose(
        five(found.numpy()), (0.146369, 0.206580, 0.352817, 0.002134, 0.026192), atol=1e-5
    )


def test_sizes_are_dfls(nets):
    for patch, (small, large) in COUNTS.items():
        for dims, wanted in ((16, small), (32, large)):
            assert symbolic(nets.build_patch_discriminator, 128, patch, dims).count_params() == wanted
    for side, wanted, left in ((8, 2_229_505, 3), (16, 6_949_633, 3), (7, 1_049_089, 4)):
        network = symbolic(nets.build_code_discriminator, (side, side, 256))
        assert (network.count_params(), network.output.shape) == (wanted, (None, left, left, 1))


def test_a_patch_that_does_not_fit_the_face_is_refused_with_one_that_does(nets):
    with pytest.raises(UsageError, match="multiple of 32, not 496; 61 is"):
        nets.build_patch_discriminator(496, 62, 16)


@pytest.mark.parametrize("stride", [1, 2])
def test_transposed_convolution_is_dfls(nets, stride):
    from core.nn.layers import ConvTransposed

    layer, x = ConvTransposed(5, stride, 0.2, name="up"), uniform((2, 4, 6, 3), 1).astype(np.float32)
    layer(x)
    kernel, bias = uniform((3, 3, 5, 3), 2) - 0.5, uniform((5,), 3) - 0.5
    layer.weight.assign(kernel), layer.bias.assign(bias)
    whole = np.zeros((2, 3 * stride + 3, 5 * stride + 3, 5))
    for row in range(3):
        for column in range(3):
            rows, columns = (
                slice(row, row + 3 * stride + 1, stride),
                slice(column, column + 5 * stride + 1, stride),
            )
            whole[:, rows, columns] += x @ kernel[row, column].T
    cropped = whole[:, 1:-1, 1:-1] if stride == 1 else whole[:, :-1, :-1]
    wanted = cropped + bias
    np.testing.assert_allclose(layer(x), np.where(wanted > 0, wanted, 0.2 * wanted), atol=1e-5)


@pytest.mark.parametrize(("stride", "filters"), [(1, 4), (2, 4), (1, 64), (2, 512)])
def test_gradient_of_a_transposed_convolution_is_tensorflows(nets, stride, filters):
    import tensorflow as tf

    from core.nn.convolution import conv_transposed_leaky

    x, kernel, bias = (
        tf.constant(uniform(shape, 4) - 0.5, tf.float32)
        for shape in ((2, 4, 4, filters), (3, 3, 3, filters), (3,))
    )

    def plain(x, kernel, bias, stride, slope):
        size = (2, 4 * stride, 4 * stride, 3)
        return tf.nn.leaky_relu(tf.nn.conv2d_transpose(x, kernel, size, stride) + bias, slope)

    results = []
    for function in (plain, conv_transposed_leaky):
        with tf.GradientTape() as tape:
            tape.watch([x, kernel, bias])
            total = tf.reduce_sum(tf.sin(function(x, kernel, bias, stride, 0.2)))
        results.append([total, *tape.gradient(total, [x, kernel, bias])])
    for wanted, found in zip(*results):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_half_precision_keeps_float32_weights(nets):
    network = nets.build_patch_discriminator(32, 9, 4, "mixed_bfloat16")
    exact = nets.build_patch_discriminator(32, 9, 4)
    assert {weight.dtype for weight in network.weights} == {"float32"}
    for name, wanted in exact(waves(1, 32)).items():
        np.testing.assert_allclose(np.float32(network(waves(1, 32))[name]), wanted, atol=3e-2)


def test_gradients_of_both_passes_round_alike_in_every_run(nets, wide_sums):
    import tensorflow as tf

    from core.nn.losses import sigmoid_cross_entropy

    network = filled(nets.build_patch_discriminator(32, 14, 8))
    real, fake = waves(2, 32), uniform((2, 32, 32, 3), 5).astype(np.float32)

    @tf.function
    def gradients(real, fake):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(fake)
            judged, fooled = network(real), network(fake)
            wrong = [sigmoid_cross_entropy(1.0, judged[name]) for name in judged]
            wrong += [sigmoid_cross_entropy(0.0, fooled[name]) for name in fooled]
            praise = [sigmoid_cross_entropy(1.0, fooled[name]) for name in fooled]
        return tape.gradient(wrong, network.trainable_variables), tape.gradient(praise, fake)

    assert not wide_sums(gradients, real, fake)
    (learnt, blame), (again, same) = gradients(real, fake), gradients(real, fake)
    for first, second in zip([*learnt, blame], [*again, same]):
        np.testing.assert_array_equal(first, second)
