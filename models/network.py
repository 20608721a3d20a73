"""A model made of named Keras networks: one compiled training step, an optimizer for each group of them."""

from __future__ import annotations

import abc
import contextlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from core.errors import UsageError
from core.nn.convolution import on_cpu
from core.nn.distribution import SINGLE, Distribution
from core.nn.layers import part_weights
from core.nn.memory import MemoryEstimate, estimate
from core.nn.optimizers import LossScale, Optimizer, OptimizerSpec, assign_strictly
from core.nn.precision import Precision
from core.nn.state import STEPS
from models.base import Batch, Model, ModelOptions, Predictor
from models.predictor import SwapPredictor
from models.recipes import Plan
from models.tensor_file import Arrays, Deferred, fetched

MAIN = "main"  # the optimizer of the networks that make faces
OBJECTIVE = "objective/"  # before an optimizer's name: what it minimises, among what a step tells
Gradients = dict[str, list[tf.Tensor | None]]  # by optimizer, one per weight, in their order


@dataclass(frozen=True)
class StepLosses:
    """What a forward pass says, per sample (N,)."""

    reported: dict[str, tf.Tensor]  # by side: the loss that the user sees
    objectives: dict[str, tf.Tensor]  # by optimizer, `MAIN` first: their sums over the batch are minimised


@dataclass(frozen=True)
class Tuning:
    """Which weights of the main optimizer are treated apart."""

    slow: tuple[str, ...] = ()  # prefixes of paths; their rate has the plan's `encoder_share`
    decayed: tuple[str, ...] = ()  # whole paths; the plan's `decay` pulls them towards zero


@dataclass(frozen=True)
class Spared:
    """What is kept off a GPU, to save its memory, where one device computes; on a CPU it means nothing."""

    state: bool = False  # weights, slots and their update
    masks: bool = False  # of learning-rate dropout


class NetworkModel(Model):
    """A model of several networks ("parts"), named as in DFL's checkpoints."""

    OPTIONAL_PARTS: ClassVar[
        tuple[str, ...]
    ] = ()  # those that only some options need, such as discriminators
    HOW: ClassVar[tuple[str, ...]] = ()  # what `predictor` and `swap_graph` can be told beside the faces
    swap_part_names: tuple[str, ...]  # the parts that `swap_graph` uses

    def __init__(
        self, name: str, options: ModelOptions, precision: Precision, distribution: Distribution = SINGLE
    ) -> None:
        super().__init__(name, options, precision)
        self.distribution = distribution
        self._spared = Spared() if on_cpu() else self.spared
        if self._spared.state and distribution.replicas > 1:
            self._spared = Spared(masks=self._spared.masks)
            self.notes.append("models_opt_on_gpu=n is for one GPU; of several, each holds all weights")
        self._kept_weights: dict[str, np.ndarray] = {}  # of optional parts that are not in use now
        self._kept_state: dict[str, np.ndarray] = {}
        self._begun_anew: set[str] = set()  # optional parts for which no weights that fit were loaded
        self.build_networks()

    def build_networks(self) -> None:
        """Make all parts, with fresh weights, and let go of what there was before."""
        with self.distribution.scope(), self._home():
            self.parts = {part: self.build_part(part, self.precision.policy) for part in self.part_names}
        self.variables = self.variables_of(self.parts)
        self._optimizers: dict[str, Optimizer] = {}  # made when first needed: merging needs none
        self._scale: LossScale | None = None
        self._train = self.distribution.compile(self._train_graph, jit=self.options.xla == "step")

    # What a kind of model says of itself

    @property
    @abc.abstractmethod
    def part_names(self) -> tuple[str, ...]:
        """The parts in use, in the order of DFL's files."""

    @abc.abstractmethod
    def build_part(self, name: str, policy: str) -> keras.Model:
        """A network with fresh weights, drawn from `options.seed`, computing by a Keras dtype policy."""

    @abc.abstractmethod
    def losses(self, tensors: Mapping[str, tf.Tensor]) -> StepLosses:
        """The forward pass over a batch, float32 tensors by the names of `batch_names` and `extra_inputs`."""

    @abc.abstractmethod
    def swap_graph(
        self, parts: Mapping[str, keras.Model], faces: tf.Tensor, **how: Any
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The swap as a graph: face (N, R, R, 3), mask of the source's and of the destination's decoder."""

    def swap_parts_for(self, **how: Any) -> tuple[str, ...]:
        """Those of `swap_part_names` that one use needs; see `HOW`."""
        return self.swap_part_names

    @property
    def optimizer_parts(self) -> dict[str, tuple[str, ...]]:
        """The parts that each optimizer trains; every optional part has one of its own name."""
        own = [part for part in self.part_names if part in self.OPTIONAL_PARTS]
        main = tuple(part for part in self.part_names if part not in own)
        return {MAIN: main, **{part: (part,) for part in own}}

    @property
    def tuning(self) -> Tuning:
        """Weights that the main optimizer treats apart."""
        return Tuning()

    @property
    def spared(self) -> Spared:
        """What the options keep off a GPU."""
        return Spared()

    @property
    def steps_apart(self) -> bool:
        """Whether discriminators learn from a second pass, after the others' update (DFL's way)."""
        return False

    def batch_names(self) -> list[str]:
        """The arrays of a batch that a step takes."""
        return [spec.name for side in self.sides for spec in self.sample_request(side).specs]

    def place(self, batch: Batch) -> Batch:
        """Tensors on the device; several devices cut their shares out of arrays themselves."""
        if self.distribution.replicas > 1:
            return batch
        return {name: tf.constant(batch[name], tf.float32) for name in self.batch_names()}

    def extra_inputs(self, batch: Batch) -> dict[str, np.ndarray]:
        """Further arrays per sample, (N, ...): random numbers that seed and iteration alone decide."""
        return {}

    def frozen(self, plan: Plan) -> tuple[str, ...]:
        """Prefixes of the paths of the weights that rest in this iteration; their gradients cost no time."""
        return ()

    def passes(self) -> dict[str, float]:
        """How many samples go through each part in a step, on one device, about: for `memory`."""
        own = self.options.batch_size / self.distribution.replicas
        found = {}
        for part in self.part_names:
            of_one_side = part.rpartition("_")[2] in (*self.sides, "B")
            seen = own if of_one_side else own * len(self.sides)
            found[part] = 2 * seen if part in self.OPTIONAL_PARTS else seen  # real and made ones
        return found

    def memory(self) -> MemoryEstimate:
        """What training needs of one device."""
        half = self.precision.compute != "float32"
        return estimate(self.parts, self.passes(), len(self.optimizer_spec().slots), 2 if half else 4)

    # The step

    def optimizer_spec(self) -> OptimizerSpec:
        recipe = self.recipe
        return OptimizerSpec(
            recipe.optimizer, recipe.beta1, recipe.beta2, recipe.eps, recipe.bias_correction, recipe.clipnorm
        )

    @property
    def optimizers(self) -> dict[str, Optimizer]:
        """By name, `MAIN` first."""
        if not self._optimizers:
            one_device = self.distribution.replicas == 1
            jit = self.options.xla == "auto" or (self.options.xla == "step" and not one_device)
            spec, tuning = self.optimizer_spec(), self.tuning
            with self.distribution.scope(), self._home():
                for name, parts in self.optimizer_parts.items():
                    weights = self._weights_of(parts)
                    main = name == MAIN
                    seed = self.options.seed if main else zlib.crc32(f"{self.options.seed}/{name}".encode())
                    slow = [path for path in weights if main and path.startswith(tuning.slow)]
                    decayed = [path for path in weights if main and path in tuning.decayed]
                    self._optimizers[name] = Optimizer(
                        weights, spec, seed, jit, slow, decayed, self.distribution, self._spared.masks
                    )
                if self.precision.scales_loss:
                    self._scale = LossScale(self.distribution)
        return self._optimizers

    def _weights_of(self, parts: tuple[str, ...]) -> dict[str, tf.Variable]:
        return {path: weight for path, weight in self.variables.items() if path.partition("/")[0] in parts}

    def _step(self, batch: Batch) -> dict[str, float]:
        plan, _ = self.recipe.plan(self.iteration), self.optimizers
        keep = None if plan.keep >= 1.0 else tf.constant(plan.keep, tf.float32)
        rate = self.rate_scale * plan.rate
        rates = tf.constant([rate, plan.encoder_share, plan.decay, plan.swing_period], tf.float32)
        arrays = {name: batch[name] for name in self.batch_names()} | self.extra_inputs(batch)
        found = self._train(arrays, rates, keep, frozen=self.frozen(plan))
        return {name: float(np.mean(values)) for name, values in found.items()}

    def _train_graph(
        self,
        tensors: dict[str, tf.Tensor],
        rates: tf.Tensor,
        keep: tf.Tensor | None,
        frozen: tuple[str, ...],
    ) -> dict[str, tf.Tensor]:
        names = list(self.optimizers)
        together = names[:1] if self.steps_apart else names
        found, gradients = self._gradients(tensors, together, frozen)
        self._update(gradients, rates, keep)
        told = found.reported | {f"{OBJECTIVE}{name}": found.objectives[name] for name in together}
        rest = names[len(together) :]
        if rest:
            after, gradients = self._gradients(tensors, rest, frozen)
            self._update(gradients, rates, keep)
            told |= {f"{OBJECTIVE}{name}": after.objectives[name] for name in rest}
        return told

    def _gradients(
        self, tensors: Mapping[str, tf.Tensor], names: list[str], frozen: tuple[str, ...]
    ) -> tuple[StepLosses, Gradients]:
        """One forward pass, and the gradient of each optimizer's objective to its weights."""
        weights_of = {name: self.optimizers[name].weights for name in names}
        learnt = {
            name: {path: weight for path, weight in weights.items() if not path.startswith(frozen)}
            for name, weights in weights_of.items()
        }
        with tf.GradientTape(persistent=len(names) > 1, watch_accessed_variables=False) as tape:
            tape.watch([weight for weights in learnt.values() for weight in weights.values()])
            found = self.losses(tensors)
            totals = {name: tf.reduce_sum(found.objectives[name]) for name in names}  # DFL sums over samples
            if self._scale is not None:
                totals = {name: total * self._scale.scale for name, total in totals.items()}
        gradients = {}
        for name, weights in learnt.items():
            own = self.distribution.sum_gradients(tape.gradient(totals[name], list(weights.values())))
            by_path = dict(zip(weights, own))
            gradients[name] = [by_path.get(path) for path in weights_of[name]]
        return found, gradients

    def _update(self, gradients: Gradients, rates: tf.Tensor, keep: tf.Tensor | None) -> None:
        if self._scale is None:
            self._apply(gradients, rates, keep)
            return
        flat, finite = self._scale.unscale([g for own in gradients.values() for g in own])
        left = iter(flat)
        gradients = {name: [next(left) for _ in own] for name, own in gradients.items()}

        def apply() -> tf.Tensor:
            self._apply(gradients, rates, keep)
            return tf.constant(True)

        tf.cond(finite, apply, lambda: tf.constant(False))
        self._scale.adjust(finite)

    def _apply(self, gradients: Gradients, rates: tf.Tensor, keep: tf.Tensor | None) -> None:
        with self._home():
            for name, own in gradients.items():
                optimizer = self.optimizers[name]
                rate = rates[0] * optimizer.swing(rates[3])
                optimizer.apply(own, rate, keep, rates[1], rates[2], self._clip_unit())

    def _home(self) -> contextlib.AbstractContextManager:
        """The block in which weights and slots are made and updated."""
        return tf.device("/CPU:0") if self._spared.state else contextlib.nullcontext()

    def _clip_unit(self) -> float:
        """What a gradient's norm is multiplied by before it is compared with the limit of the recipe."""
        return 1.0 if self.recipe.clips_sum else 1.0 / self.options.batch_size

    def share(self) -> None:
        """Make weights and optimizers on all machines those of the chief; every one must call it."""
        variables = list(self.variables.values())
        for optimizer in self.optimizers.values():
            variables += [*optimizer.slots.values(), optimizer.steps]
        if self._scale is not None:
            variables += [self._scale.scale, self._scale.good]
        self.distribution.share(variables)

    # Use

    def predictor(self, precision: str | None = None, **how: Any) -> Predictor:
        strange = sorted(set(how) - set(self.HOW))
        if strange:
            raise UsageError(f"a {self.kind} model knows no {', '.join(strange)}")
        return SwapPredictor(self, precision or self.precision.compute, how)

    # State

    @staticmethod
    def variables_of(parts: Mapping[str, keras.Model]) -> dict[str, tf.Variable]:
        """All weights by path."""
        return {path: w.value for part in parts.values() for path, w in part_weights(part).items()}

    def weights(self) -> dict[str, np.ndarray]:
        return {path: fetched(array) for path, array in self.deferred_weights().items()}

    def deferred_weights(self) -> Arrays:
        return {
            **{path: _deferred(variable) for path, variable in self.variables.items()},
            **self._kept_weights,
        }

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        return {path: tuple(variable.shape) for path, variable in self.variables.items()}

    def load_weights(self, values: Mapping[str, np.ndarray]) -> None:
        """See `Model.load_weights`.

        Optional parts may be absent, or of another size after a change of options: these begin anew, with a
        note. Those that the options do not need now are kept, and saved again.
        """
        values, variables = dict(values), dict(self.variables)
        kept: dict[str, np.ndarray] = {}
        self._begun_anew = set()
        for part in self.OPTIONAL_PARTS:
            saved = {path: values.pop(path) for path in list(values) if path.startswith(f"{part}/")}
            wanted = {p: tuple(v.shape) for p, v in self.variables.items() if p.startswith(f"{part}/")}
            if not wanted:
                kept |= saved
            elif {path: array.shape for path, array in saved.items()} == wanted:
                values |= saved
            else:
                why = "its size is another one now" if saved else "none was saved"
                self._begin_anew(part, why)
                for path in wanted:
                    variables.pop(path)
        assign_strictly(variables, values, "weights")
        self._kept_weights = kept
        self.is_fresh = False

    def renew_weights(self, part: str) -> None:
        """Give a part the weights that it has in a new model of these options."""
        fresh = self.variables_of({part: self.build_part(part, self.precision.policy)})
        for path, variable in fresh.items():
            self.variables[path].assign(variable)

    def renew_optional(self, part: str, why: str) -> None:
        """Let an optional part begin anew whose weights fit by chance only; what is kept of it is dropped."""
        if part in self.parts:
            if part not in self._begun_anew:
                self.renew_weights(part)
                self.optimizers[part].reset()
                self._begin_anew(part, why)
            return
        self._kept_weights = {
            path: array for path, array in self._kept_weights.items() if not path.startswith(f"{part}/")
        }
        self._kept_state = {
            key: array for key, array in self._kept_state.items() if key.split("/")[1:2] != [part]
        }

    def _begin_anew(self, part: str, why: str) -> None:
        self._begun_anew.add(part)
        self.notes.append(f"the network {part} begins with fresh weights: {why}")

    def optimizer_state(self) -> dict[str, np.ndarray]:
        """Slots by `<slot>/<weight path>`; `steps` of the main optimizer, `steps/<name>` of each other."""
        return {path: fetched(array) for path, array in self.deferred_optimizer_state().items()}

    def deferred_optimizer_state(self) -> Arrays:
        state: dict[str, np.ndarray | Deferred] = {}
        for name, optimizer in self.optimizers.items():
            steps = np.asarray(optimizer.steps.numpy(), np.int64)
            state[STEPS if name == MAIN else f"{STEPS}/{name}"] = steps
            state |= {path: _deferred(slot) for path, slot in optimizer.slots.items()}
        return {**state, **self._kept_state}

    def load_optimizer_state(self, state: Mapping[str, np.ndarray]) -> bool:
        groups: dict[str, dict[str, np.ndarray]] = {}
        for key, value in state.items():
            first, _, rest = key.partition("/")
            owner = rest if first == STEPS else rest.partition("/")[0]
            name = owner if owner in self.OPTIONAL_PARTS else MAIN
            groups.setdefault(name, {})[STEPS if first == STEPS else key] = value
        self._kept_state = {
            f"{STEPS}/{name}" if key == STEPS else key: value
            for name, group in groups.items()
            if name not in self.optimizers
            for key, value in group.items()
        }
        taken = self.optimizers[MAIN].load_state(groups.get(MAIN, {}))
        for name in self.optimizers:
            if name != MAIN:
                self._load_optional_state(name, groups.get(name, {}), told=not taken)
        return taken

    def _load_optional_state(self, name: str, state: Mapping[str, np.ndarray], told: bool) -> None:
        """A discriminator's state; one of another size, or none, begins anew with its network."""
        optimizer = self.optimizers[name]
        shapes = {path: tuple(slot.shape) for path, slot in optimizer.slots.items()}
        if {key: value.shape for key, value in state.items() if key != STEPS} == shapes:
            optimizer.load_state(state)
            return
        optimizer.reset()
        if state and not told and name not in self._begun_anew:
            self.notes.append(f"the optimizer of {name} starts anew: its saved state is another recipe's")

    def summary_rows(self) -> list[tuple[str, str]]:
        count = sum(int(np.prod(variable.shape)) for variable in self.variables.values())
        return [*super().summary_rows(), ("weights", f"{count:,}")]


def _deferred(variable: tf.Variable) -> Deferred:
    return Deferred(tuple(variable.shape), np.dtype(variable.dtype.as_numpy_dtype), variable.numpy)
