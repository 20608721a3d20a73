"""Quick96: DFL's small df-ud model of 96 pixels, for a swap within minutes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import tensorflow as tf

from core.nn.archi import Archi
from core.nn.optimizers import LossScale, Optimizer, OptimizerSpec, assign_strictly
from core.nn.precision import Precision
from models.autoencoder import FaceAutoencoder, Swapper, masked_losses
from models.base import Batch, Model, Predictor
from models.priming import PersonFeatures, fit_bottleneck
from models.quick96_options import Quick96Options
from models.recipes import RECIPES, Recipe
from samplelib import SampleRequest, SampleSpec

RESOLUTION = 96
PREVIEW_ROWS = 4
PRIMING_FACES = 320  # of each person: several for each output of the bottleneck, a few seconds' work
READER = ("encoder/", "inter/dense1")  # what reads the face, in the order of the flow


class Quick96(Model):
    """See `Model`. Encoder, inter and two decoders, 38.3 million weights, full face."""

    kind = "Quick96"
    options_class = Quick96Options

    def __init__(self, name: str, options: Quick96Options, precision: Precision) -> None:
        super().__init__(name, options, precision)
        self.archi = Archi.parse("df-ud", RESOLUTION, ae_dims=128, e_dims=64, d_dims=64, d_mask_dims=16)
        self.nets = FaceAutoencoder(self.archi, precision.policy, options.seed)
        self._variables = self.nets.variables()
        self._optimizer: Optimizer | None = None  # made when first needed: merging needs none
        self._scale = LossScale() if precision.scales_loss else None
        self._train = tf.function(self._train_graph, jit_compile=options.xla == "step" or None)
        self._show = tf.function(self.nets.show)

    @property
    def resolution(self) -> int:
        return RESOLUTION

    @property
    def face_type(self) -> str:
        return "full_face"

    @property
    def recipe(self) -> Recipe:
        return RECIPES[self.options.recipe]

    @property
    def optimizer(self) -> Optimizer:
        if self._optimizer is None:
            recipe = self.recipe
            spec = OptimizerSpec(
                recipe.optimizer, recipe.beta1, recipe.beta2, recipe.eps, recipe.bias_correction
            )
            jit = self.options.xla == "auto"
            slow = [path for path in self._variables if path.startswith(READER)]
            kernels = [
                path for path in self._variables if path.startswith("decoder") and path.endswith("/weight")
            ]
            self._optimizer = Optimizer(self._variables, spec, self.options.seed, jit, slow, kernels)
        return self._optimizer

    def _step(self, batch: Batch) -> dict[str, float]:
        plan, _ = self.recipe.plan(self.iteration), self.optimizer
        keep = None if plan.keep >= 1.0 else tf.constant(plan.keep, tf.float32)
        rates = tf.constant([self.rate_scale * plan.rate, plan.encoder_share, plan.decay], tf.float32)
        names = [f"{name}_{side}{tail}" for side in ("src", "dst") for name, tail in BATCH_NAMES]
        arrays = [tf.constant(batch[name], tf.float32) for name in names]
        src, dst = self._train(arrays, rates, keep, held=plan.encoder_share == 0.0)
        return {"src": float(src), "dst": float(dst)}

    def losses(self, arrays: list[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Losses per sample of src and dst, (N,) each, for warped, target and mask of src, then of dst."""
        warped_src, target_src, mask_src, warped_dst, target_dst, mask_dst = arrays
        faces, masks = self.nets.reconstruct(warped_src, warped_dst)
        targets = tf.concat([target_src, target_dst], axis=0)
        terms = masked_losses(targets, tf.concat([mask_src, mask_dst], axis=0), faces, masks)
        return tuple(tf.split(tf.reduce_sum(tf.stack(list(terms.values())), axis=0), 2))

    def _train_graph(
        self, arrays: list[tf.Tensor], rates: tf.Tensor, keep: tf.Tensor | None, held: bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """One step; `held` leaves out what reads the face, and the time that its gradients would take."""
        learnt = {path: w for path, w in self._variables.items() if not (held and path.startswith(READER))}
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(list(learnt.values()))
            src, dst = self.losses(arrays)
            total = tf.reduce_sum(src) + tf.reduce_sum(dst)  # DFL sums over the samples
            if self._scale is not None:
                total *= self._scale.scale
        found = dict(zip(learnt, tape.gradient(total, list(learnt.values()))))
        self._apply([found.get(path) for path in self._variables], rates, keep)
        return tf.reduce_mean(src), tf.reduce_mean(dst)

    def _apply(self, gradients: list[tf.Tensor | None], rates: tf.Tensor, keep: tf.Tensor | None) -> None:
        if self._scale is None:
            self.optimizer.apply(gradients, rates[0], keep, rates[1], rates[2])
            return
        gradients, finite = self._scale.unscale(gradients)
        tf.cond(finite, lambda: self._apply_finite(gradients, rates, keep), lambda: tf.constant(False))
        self._scale.adjust(finite)

    def _apply_finite(
        self, gradients: list[tf.Tensor | None], rates: tf.Tensor, keep: tf.Tensor | None
    ) -> tf.Tensor:
        self.optimizer.apply(gradients, rates[0], keep, rates[1], rates[2])
        return tf.constant(True)

    def sample_request(self, side: str) -> SampleRequest:
        request = super().sample_request(side)
        if not self.recipe.primes:
            return request
        return replace(request, specs=(*request.specs, SampleSpec(f"landmarks_{side}", "landmarks")))

    def prime(self, batches: Callable[[int], Batch]) -> None:
        if not (self.is_fresh and self.recipe.primes):
            return
        found: dict[str, list[np.ndarray]] = {}
        for number in range(math.ceil(PRIMING_FACES / self.options.batch_size)):
            batch = batches(number)
            for name in (f"{kind}_{side}" for kind in ("warped", "target") for side in ("src", "dst")):
                code = self.nets.encoder(tf.constant(batch[name], tf.float32))
                found.setdefault(name, []).append(code.numpy().astype(np.float32))
            for name in ("landmarks_src", "landmarks_dst"):
                found.setdefault(name, []).append(batch[name])
        whole = {name: np.concatenate(parts) for name, parts in found.items()}
        persons = [
            PersonFeatures(*(whole[f"{kind}_{side}"] for kind in ("warped", "target", "landmarks")))
            for side in ("src", "dst")
        ]
        weight, bias = fit_bottleneck(*persons, self.archi.ae_dims)
        self._variables[f"{READER[1]}/weight"].assign(weight)
        self._variables[f"{READER[1]}/bias"].assign(bias)
        self.is_fresh = False

    def predictor(self, precision: str | None = None) -> Predictor:
        return Swapper(self.archi, precision or self.precision.compute, self.weights())

    def preview(self, batch: Batch) -> dict[str, np.ndarray]:
        src, dst = batch["target_src"][:PREVIEW_ROWS], batch["target_dst"][:PREVIEW_ROWS]
        src_mask, dst_mask = batch["target_src_mask"][:PREVIEW_ROWS], batch["target_dst_mask"][:PREVIEW_ROWS]
        shown = self._show(tf.constant(src, tf.float32), tf.constant(dst, tf.float32))
        out = {name: tensor.numpy() for name, tensor in shown.items()}
        plain = (src, out["src_face"], dst, out["dst_face"], out["swap_face"])
        masked = (
            src * src_mask,
            out["src_face"],
            dst * dst_mask,
            out["dst_face"] * out["dst_mask"],
            out["swap_face"] * (out["dst_mask"] * out["swap_mask"]),
        )
        return {"Quick96": _grid(plain), "Quick96 masked": _grid(masked)}

    def weights(self) -> dict[str, np.ndarray]:
        return {path: variable.numpy() for path, variable in self._variables.items()}

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        return {path: tuple(variable.shape) for path, variable in self._variables.items()}

    def load_weights(self, values: Mapping[str, np.ndarray]) -> None:
        assign_strictly(self._variables, values, "weights")
        self.is_fresh = False

    def optimizer_state(self) -> dict[str, np.ndarray]:
        return self.optimizer.state()

    def load_optimizer_state(self, state: Mapping[str, np.ndarray]) -> bool:
        return self.optimizer.load_state(state)


BATCH_NAMES = (("warped", ""), ("target", ""), ("target", "_mask"))


def _grid(columns: tuple[np.ndarray, ...]) -> np.ndarray:
    """Batches side by side, samples below each other: (N R, 5 R, 3) float32 in [0, 1]."""
    rows = [np.concatenate(row, axis=1) for row in zip(*columns)]
    return np.clip(np.concatenate(rows, axis=0), 0.0, 1.0).astype(np.float32)
