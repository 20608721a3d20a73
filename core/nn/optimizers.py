"""Optimizers: float32 slots, element-wise learning-rate dropout, one XLA-compiled update of all weights.

Only the update is compiled by XLA: it fuses dozens of passes over the weights into one, while XLA's
convolutions on a CPU are slower than oneDNN's (platform notes, section 3). On one device the compiled
function assigns the weights itself. Where several devices hold copies, XLA cannot reach them from inside: it
maps values to values there, and each device assigns its own copies.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from core.nn.distribution import SINGLE, Distribution
from core.nn.state import STEPS, check_state


@dataclass(frozen=True)
class OptimizerSpec:
    """Constants of an optimizer. DFL's have no bias correction and add eps outside of the root."""

    kind: str  # rmsprop, adam or adabelief
    beta1: float = 0.9  # decay of the mean gradient
    beta2: float = 0.999  # decay of the mean square (RMSprop's rho)
    eps: float = 1e-6
    bias_correction: bool = False
    clipnorm: float = 0.0  # most that the norm of all gradients together may be; 0 sets no limit

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of the slots, as in the paths `<slot>/<weight path>` of a saved state."""
        return ("acc",) if self.kind == "rmsprop" else ("m", "v")


DFL_RMSPROP = OptimizerSpec("rmsprop", beta2=0.9)
DFL_ADABELIEF = OptimizerSpec("adabelief")


def keep_mask(shape: tuple[int, ...], keep: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """Float32 ones with probability `keep` (in steps of 1/256), else zeros; a pure function of `key`.

    A 32-bit mix of multiplications and shifts (the finalizer of MurmurHash3) over the element's number; as
    random as a dropout mask needs, and unlike Philox it costs less than reading the weights.
    """
    count = int(np.prod(shape)) if shape else 1
    bits = tf.cast(tf.range(count, dtype=tf.int32), tf.uint32) * np.uint32(0x9E3779B9) + key
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        bits = tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, np.uint32(shift))) * np.uint32(
            factor
        )
    byte = tf.bitwise.right_shift(bits, np.uint32(24))
    limit = tf.cast(tf.round(keep * 256.0), tf.int32)
    return tf.reshape(tf.cast(tf.cast(byte, tf.int32) < limit, tf.float32), shape)


class Optimizer:
    """Updates a set of weights; slots are float32 variables of the same shapes, zero at the start."""

    def __init__(
        self,
        weights: Mapping[str, tf.Variable],
        spec: OptimizerSpec,
        seed: int,
        jit: bool,
        slow: Collection[str] = (),
        decayed: Collection[str] = (),
        distribution: Distribution = SINGLE,
        masks_on_cpu: bool = False,
    ) -> None:
        """
        Args:
            weights: The weights by path; their order fixes which random numbers each gets.
            spec: What to compute.
            seed: Of the learning-rate dropout.
            jit: Compile the update with XLA.
            slow: Paths of the weights whose rate has the factor `slow` of `apply`.
            decayed: Paths of the weights that `decay` of `apply` pulls towards zero.
            distribution: In whose scope the weights were made, and this is called.
            masks_on_cpu: Make the masks of learning-rate dropout there, to spare a GPU their memory.
        """
        self.weights, self.spec, self.seed = dict(weights), spec, seed
        self.slow, self.decayed = frozenset(slow), frozenset(decayed)
        self.slots = {
            f"{slot}/{path}": tf.Variable(tf.zeros(weight.shape, tf.float32), trainable=False)
            for slot in spec.slots
            for path, weight in self.weights.items()
        }
        self.steps = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._distribution, self._masks_on_cpu = distribution, masks_on_cpu
        one_device = distribution.replicas == 1
        update = self._update_all if one_device else self._updated
        self._update = tf.function(update, jit_compile=jit, autograph=False)

    def apply(
        self,
        gradients: list[tf.Tensor | None],
        rate: tf.Tensor,
        keep: tf.Tensor | None,
        slow: tf.Tensor | float = 1.0,
        decay: tf.Tensor | float = 0.0,
        clip_unit: tf.Tensor | float = 1.0,
    ) -> None:
        """One update.

        Args:
            gradients: One per weight, in their order, of any float type. A weight without one (`None`) stays
                as it is, and so do its slots.
            rate: () float32 learning rate.
            keep: () float32 probability of each element to be updated (its slots always are), or `None`.
            slow: () float32 factor on the rate of the slow weights.
            decay: () float32, share of a decayed weight taken off at rate 1, apart from the gradient's part
                (AdamW: Loshchilov and Hutter, ICLR 2019).
            clip_unit: () float32 factor on the norm of all gradients before the limit of the spec is looked
                at: 1 / N measures a sum over N samples by its mean.
        """
        factors = (tf.convert_to_tensor(factor, tf.float32) for factor in (slow, decay, clip_unit))
        if keep is not None and self._masks_on_cpu:
            with tf.device("/CPU:0"):
                step = tf.identity(self.steps) + 1
                keep = [None if g is None else self._mask(n, keep, step) for n, g in enumerate(gradients)]
        if self._distribution.replicas == 1:
            self._update(gradients, rate, keep, *factors)
            return
        variables = self._variables(gradients)
        own = {key: self._distribution.local(variable) for key, variable in variables.items()}
        values = {key: variable.read_value() for key, variable in own.items()}
        for key, value in self._update(values, gradients, rate, keep, *factors).items():
            own[key].assign(value)

    def swing(self, period: tf.Tensor) -> tf.Tensor:
        """Factor on the rate of the next update, () float32: a cosine from 1 to 0 and back (DFL's lr_cos).

        It follows this optimizer's own updates, as in DFL: one that joined later is in another phase.

        Args:
            period: () float32 updates; 0 keeps the factor at 1.
        """
        length = tf.maximum(tf.cast(period, tf.int64), 1)
        turn = tf.cast(tf.identity(self.steps) % length, tf.float32) / tf.cast(length, tf.float32)
        return tf.where(period > 0, (tf.cos(2 * np.pi * turn) + 1) / 2, 1.0)

    def _variables(self, gradients: list[tf.Tensor | None]) -> dict[str, tf.Variable]:
        """What an update changes, by the keys of a state; the weights by their paths."""
        moving = [path for path, gradient in zip(self.weights, gradients) if gradient is not None]
        slots = [f"{slot}/{path}" for slot in self.spec.slots for path in moving]
        return {
            STEPS: self.steps,
            **{path: self.weights[path] for path in moving},
            **{key: self.slots[key] for key in slots},
        }

    def _update_all(self, gradients: list[tf.Tensor | None], *args: tf.Tensor | None) -> None:
        variables = self._variables(gradients)
        for key, value in self._updated(variables, gradients, *args).items():
            variables[key].assign(value)

    def _updated(
        self,
        values: Mapping[str, tf.Tensor | tf.Variable],
        gradients: list[tf.Tensor | None],
        rate: tf.Tensor,
        keep: tf.Tensor | list[tf.Tensor | None] | None,
        slow: tf.Tensor,
        decay: tf.Tensor,
        clip_unit: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """What everything in `values` (see `_variables`) is after one update; changes nothing itself.

        `keep` is a probability, or a mask for each weight.
        """
        step = values[STEPS] + 1
        found = {STEPS: step}
        shrink = self._clip_factor(gradients, clip_unit)
        corrections = self._corrections(tf.cast(step, tf.float32))
        for number, (path, gradient) in enumerate(zip(self.weights, gradients)):
            if gradient is None:
                continue
            gradient = tf.cast(gradient, tf.float32)
            gradient = gradient if shrink is None else gradient * shrink
            slots = [values[f"{slot}/{path}"] for slot in self.spec.slots]
            change, *slots = self._change(gradient, slots, *corrections)
            found |= {f"{slot}/{path}": value for slot, value in zip(self.spec.slots, slots)}
            weight = values[path]
            if path in self.decayed:
                change += decay * weight
            if keep is not None:
                change *= keep[number] if isinstance(keep, list) else self._mask(number, keep, step)
            found[path] = weight - (rate * slow if path in self.slow else rate) * change
        return found

    def _clip_factor(self, gradients: list[tf.Tensor | None], unit: tf.Tensor) -> tf.Tensor | None:
        """What all gradients are multiplied by to keep their norm within the limit; `None` without one."""
        if not self.spec.clipnorm:
            return None
        squares = [tf.reduce_sum(tf.square(tf.cast(g, tf.float32))) for g in gradients if g is not None]
        norm = unit * tf.sqrt(tf.reduce_sum(tf.stack(squares)))
        return tf.where(norm >= self.spec.clipnorm, self.spec.clipnorm / tf.maximum(norm, 1e-30), 1.0)

    def _corrections(self, step: tf.Tensor) -> tuple[tf.Tensor | float, tf.Tensor | float]:
        """Factors that undo the slots' start at zero (Kingma and Ba, "Adam", section 3)."""
        if not self.spec.bias_correction:
            return 1.0, 1.0
        return 1.0 / (1.0 - self.spec.beta1**step), 1.0 / (1.0 - self.spec.beta2**step)

    def _change(self, gradient: tf.Tensor, slots: list, correct1, correct2) -> tuple[tf.Tensor, ...]:
        """What the rate is to be multiplied by, and the new slots of one weight, in the order of the spec."""
        spec = self.spec
        if spec.kind == "rmsprop":
            square = spec.beta2 * slots[0] + (1.0 - spec.beta2) * tf.square(gradient)
            return gradient / (tf.sqrt(square * correct2) + spec.eps), square
        mean = spec.beta1 * slots[0] + (1.0 - spec.beta1) * gradient
        surprise = gradient - mean if spec.kind == "adabelief" else gradient
        square = spec.beta2 * slots[1] + (1.0 - spec.beta2) * tf.square(surprise)
        return (mean * correct1) / (tf.sqrt(square * correct2) + spec.eps), mean, square

    def _mask(self, number: int, keep: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Which elements of a weight, by its number, are updated in one step."""
        weight = list(self.weights.values())[number]
        return keep_mask(tuple(weight.shape), keep, self._key(step, number))

    def _key(self, step: tf.Tensor, number: int) -> tf.Tensor:
        """The mask's key for one weight in one step."""
        start = np.random.SeedSequence([self.seed & 0xFFFFFFFF, number]).generate_state(1)[0]
        return tf.cast(step, tf.uint32) * np.uint32(0x632BE5AB) + np.uint32(start)

    def state(self) -> dict[str, np.ndarray]:
        """Slots by `<slot>/<weight path>`, and the step counter."""
        state = {path: slot.numpy() for path, slot in self.slots.items()}
        return {STEPS: np.asarray(self.steps.numpy(), np.int64), **state}

    def load_state(self, state: Mapping[str, np.ndarray]) -> bool:
        """Take over a saved state.

        Returns:
            False if it is of another kind of optimizer (another recipe): the slots then start at zero.

        Raises:
            CheckpointError: It is of this kind, but slots are missing, left over or have another shape.
        """
        saved = {path.partition("/")[0] for path in state} - {STEPS}
        if saved != set(self.spec.slots):
            self.reset()
            return False
        assign_strictly(
            self.slots, {path: value for path, value in state.items() if path != STEPS}, "optimizer"
        )
        self.steps.assign(int(state.get(STEPS, 0)))
        return True

    def reset(self) -> None:
        for slot in self.slots.values():
            slot.assign(tf.zeros_like(slot))
        self.steps.assign(0)


class LossScale:
    """Loss scaling for float16: halved when gradients overflow, doubled after `PATIENCE` good steps."""

    START, PATIENCE = 2.0**12, 1000

    def __init__(self, distribution: Distribution = SINGLE) -> None:
        self._distribution = distribution
        self.scale = tf.Variable(self.START, dtype=tf.float32, trainable=False)
        self.good = tf.Variable(0, dtype=tf.int64, trainable=False)

    def unscale(self, gradients: list[tf.Tensor | None]) -> tuple[list[tf.Tensor | None], tf.Tensor]:
        """Gradients divided by the scale, in float32, and whether all of them are finite."""
        gradients = [None if g is None else tf.cast(g, tf.float32) / self.scale for g in gradients]
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(g)) for g in gradients if g is not None])
        return gradients, finite

    def adjust(self, finite: tf.Tensor) -> None:
        good = tf.where(finite, self.good + 1, tf.zeros_like(self.good))
        grow = good >= self.PATIENCE
        factor = tf.where(finite, tf.where(grow, 2.0, 1.0), 0.5)
        local = self._distribution.local
        local(self.scale).assign(tf.clip_by_value(self.scale * factor, 1.0, 2.0**16))
        local(self.good).assign(tf.where(grow, tf.zeros_like(good), good))


def assign_strictly(
    variables: Mapping[str, tf.Variable], values: Mapping[str, np.ndarray], what: str
) -> None:
    """Assign every variable its value.

    Raises:
        CheckpointError: Names are missing, left over, or shapes differ; nothing was assigned.
    """
    shapes = {path: tuple(variable.shape) for path, variable in variables.items()}
    check_state(values, shapes, f"the saved state ({what})")
    for path, variable in variables.items():
        variable.assign(tf.cast(values[path], variable.dtype))
