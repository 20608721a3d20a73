"""Where a training step runs. One device is the plain case; several take a share of the batch each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from core.nn.devices import Devices

Step = Callable[..., dict[str, tf.Tensor]]


class Distribution:
    """One device: the whole batch, no exchange."""

    replicas = 1

    def scope(self) -> contextlib.AbstractContextManager:
        """The block in which networks and optimizers make their variables."""
        return contextlib.nullcontext()

    def compile(self, step: Step, jit: bool) -> Callable[..., dict[str, np.ndarray]]:
        """`step` as one graph.

        Args:
            step: Takes the batch (tensors by name, samples first) and further arguments, updates variables,
                and returns values per sample, (N,), by name.
            jit: Compile the whole of it with XLA.

        Returns:
            The same for arrays of the whole batch; the values come back in the order of its samples.
        """
        run = tf.function(step, jit_compile=jit or None)

        def call(arrays: Mapping[str, np.ndarray], *args: Any, **kwargs: Any) -> dict[str, np.ndarray]:
            tensors = {name: tf.constant(array, tf.float32) for name, array in arrays.items()}
            return {name: value.numpy() for name, value in run(tensors, *args, **kwargs).items()}

        return call

    def sum_gradients(self, gradients: list[tf.Tensor | None]) -> list[tf.Tensor | None]:
        """Within a step: each gradient summed over the devices."""
        return gradients


SINGLE = Distribution()


def choose_distribution(devices: Devices) -> Distribution:
    """How a training uses the devices that were chosen."""
    return SINGLE
