"""Where a training step runs: on one device, or on several that take an equal share of the batch each.

Several devices hold copies of all weights and slots ("replicas", `tf.distribute`). Each computes the losses
and gradients of its samples; gradients are summed over the replicas in float32, and every replica makes the
same update. Losses and gradients are sums and means over samples, so the result is that of one device with
the whole batch, up to the rounding of sums.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from core.errors import UsageError
from core.nn.devices import Devices

Step = Callable[..., dict[str, tf.Tensor]]

PACKED = 2**18  # elements; smaller gradients travel together, as each exchange costs time of its own


class Distribution:
    """One device: the whole batch, no exchange."""

    replicas = 1  # devices in all
    workers = 1  # processes in all
    worker = 0  # which of them this one is; 0 is the chief, who alone saves

    @property
    def is_chief(self) -> bool:
        return self.worker == 0

    def scope(self) -> contextlib.AbstractContextManager:
        """The block in which networks and optimizers make their variables."""
        return contextlib.nullcontext()

    def compile(self, step: Step, jit: bool) -> Callable[..., dict[str, np.ndarray]]:
        """`step` as one graph.

        Args:
            step: Takes the batch (tensors by name, samples first) and further arguments, updates variables,
                and returns values per sample, (N,), by name.
            jit: Compile the whole of it with XLA; several devices cannot.

        Returns:
            The same for arrays of the whole batch; the values come back in the order of its samples.
        """
        run = tf.function(step, jit_compile=jit or None, autograph=False)  # which takes as long as tracing

        def call(arrays: Mapping[str, np.ndarray], *args: Any, **kwargs: Any) -> dict[str, np.ndarray]:
            tensors = {name: tf.constant(array, tf.float32) for name, array in arrays.items()}
            return {name: value.numpy() for name, value in run(tensors, *args, **kwargs).items()}

        return call

    def sum_gradients(self, gradients: list[tf.Tensor | None]) -> list[tf.Tensor | None]:
        """Within a step: each gradient summed over the devices."""
        return gradients

    def local(self, variable: tf.Variable) -> tf.Variable:
        """Within a step: this device's copy of a variable, which may be assigned."""
        return variable

    def exchange(self, numbers: Sequence[float]) -> np.ndarray:
        """What every process says: (workers, len(numbers)) float32. All of them must call it, alike."""
        return np.asarray([numbers], np.float32)

    def share(self, variables: Sequence[tf.Variable]) -> None:
        """Make variables the chief's everywhere. All processes must call it, alike."""

    def check_batch(self, size: int) -> None:
        """Refuse a batch that cannot be shared equally.

        Raises:
            UsageError: Names the sizes next to it that can.
        """
        if size % self.replicas:
            less = size - size % self.replicas
            fitting = " or ".join(str(near) for near in (less, less + self.replicas) if near)
            raise UsageError(
                f"batch_size {size} cannot be shared equally by {self.replicas} devices; give {fitting}"
            )

    def halved(self, size: int) -> int:
        """About half of a batch that can be shared equally; 0 if there is none that is smaller."""
        half = max(self.replicas, size // 2 - size // 2 % self.replicas)
        return half if half < size else 0


SINGLE = Distribution()


class Replicated(Distribution):
    """Several devices of this machine, or of several machines: see the module."""

    def __init__(self, strategy: tf.distribute.Strategy, workers: int = 1, worker: int = 0) -> None:
        """
        Args:
            strategy: A MirroredStrategy, or a MultiWorkerMirroredStrategy of `workers` processes.
            worker: Which of them this one is.
        """
        self._strategy = strategy
        self.replicas = strategy.num_replicas_in_sync
        self.workers, self.worker = workers, worker
        self._own = self.replicas // workers  # devices of this process
        self._exchange = tf.function(self._exchange_graph, autograph=False)

    def scope(self) -> contextlib.AbstractContextManager:
        return self._strategy.scope()

    def compile(self, step: Step, jit: bool) -> Callable[..., dict[str, np.ndarray]]:
        def on_replica(tensors: dict[str, tf.Tensor], *args: Any, **kwargs: Any) -> dict[str, tf.Tensor]:
            found = step(tensors, *args, **kwargs)
            values = tf.stack([tf.cast(value, tf.float32) for value in found.values()], axis=1)
            return dict(zip(found, tf.unstack(self._whole(values), axis=1)))

        @tf.function(autograph=False)
        def run(tensors: dict[str, Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
            return self._strategy.run(on_replica, args=(tensors, *args), kwargs=kwargs)

        def call(arrays: Mapping[str, np.ndarray], *args: Any, **kwargs: Any) -> dict[str, np.ndarray]:
            found = run(self._shares(arrays), *args, **kwargs)
            return {name: self._first(value).numpy() for name, value in found.items()}

        return call

    def _shares(self, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """The batch, its samples in order: the first share for the first replica, and so on."""
        size = len(next(iter(arrays.values()))) // self.replicas

        def share(context: tf.distribute.experimental.ValueContext) -> dict[str, tf.Tensor]:
            number = int(context.replica_id_in_sync_group)
            rows = slice(number * size, (number + 1) * size)
            with tf.device(self._strategy.extended.worker_devices[number % self._own]):
                return {name: tf.constant(array[rows], tf.float32) for name, array in arrays.items()}

        return self._strategy.experimental_distribute_values_from_function(share)

    def _whole(self, values: tf.Tensor) -> tf.Tensor:
        """Within a step: the values of all samples, (n, K) of each replica to (replicas n, K) everywhere."""
        context = tf.distribute.get_replica_context()
        number, size = context.replica_id_in_sync_group, tf.shape(values)[0]
        before, after = number * size, (self.replicas - 1 - number) * size
        # a sum with zeros, because it is exact and one exchange; a gathering would exchange lengths before
        return context.all_reduce("SUM", tf.pad(values, [[before, after], [0, 0]]))

    def sum_gradients(self, gradients: list[tf.Tensor | None]) -> list[tf.Tensor | None]:
        present = [number for number, gradient in enumerate(gradients) if gradient is not None]
        sums = self._sum([tf.cast(gradients[number], tf.float32) for number in present])
        by_number = dict(zip(present, sums))
        return [by_number.get(number) for number in range(len(gradients))]

    def _sum(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        """Within a step: sums over the replicas of tensors of one type and of known shapes."""
        if not tensors:
            return []
        small = [number for number, tensor in enumerate(tensors) if tensor.shape.num_elements() < PACKED]
        large = [number for number in range(len(tensors)) if number not in set(small)]
        sent = [tensors[number] for number in large]
        if small:
            sent.append(tf.concat([tf.reshape(tensors[number], [-1]) for number in small], axis=0))
        sums = tf.distribute.get_replica_context().all_reduce("SUM", sent)
        found = dict(zip(large, sums))
        if small:
            lengths = [math.prod(tensors[number].shape) for number in small]
            for number, part in zip(small, tf.split(sums[-1], lengths)):
                found[number] = tf.reshape(part, tensors[number].shape)
        return [found[number] for number in range(len(tensors))]

    def local(self, variable: tf.Variable) -> tf.Variable:
        context = tf.distribute.get_replica_context()
        return self._strategy.experimental_local_results(variable)[self._number(context)]

    def _number(self, context: tf.distribute.ReplicaContext) -> int:
        """Of this replica within its process."""
        return int(tf.get_static_value(context.replica_id_in_sync_group)) % self._own

    def _first(self, value: Any) -> tf.Tensor:
        return self._strategy.experimental_local_results(value)[0]

    def exchange(self, numbers: Sequence[float]) -> np.ndarray:
        return self._first(self._exchange(tf.constant(numbers, tf.float32))).numpy()

    def _exchange_graph(self, numbers: tf.Tensor) -> Any:
        def on_replica(numbers: tf.Tensor) -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            row = numbers if self._number(context) == 0 else tf.zeros_like(numbers)
            after = self.workers - 1 - self.worker
            return context.all_reduce("SUM", tf.pad(row[None], [[self.worker, after], [0, 0]]))

        return self._strategy.run(on_replica, args=(numbers,))

    def share(self, variables: Sequence[tf.Variable]) -> None:
        def on_replica() -> None:
            context = tf.distribute.get_replica_context()
            speaks = self.is_chief and self._number(context) == 0
            for dtype in {variable.dtype.name: None for variable in variables}:
                own = [self.local(variable) for variable in variables if variable.dtype.name == dtype]
                sent = [variable.read_value() if speaks else tf.zeros_like(variable) for variable in own]
                for variable, value in zip(own, self._sum(sent)):
                    variable.assign(value)

        tf.function(lambda: self._strategy.run(on_replica), autograph=False)()


def choose_distribution(devices: Devices) -> Distribution:
    """How a training uses the devices that were chosen."""
    if devices.strategy is not None:
        return _several_machines(devices)
    return _several_devices(devices.logical) if len(devices.logical) > 1 else SINGLE


@functools.cache
def _several_devices(logical: tuple[str, ...]) -> Distribution:
    return Replicated(tf.distribute.MirroredStrategy(list(logical)))


@functools.cache
def _several_machines(devices: Devices) -> Distribution:
    resolver = devices.strategy.cluster_resolver
    return Replicated(
        devices.strategy, len(resolver.cluster_spec().as_dict()["worker"]), int(resolver.task_id)
    )
