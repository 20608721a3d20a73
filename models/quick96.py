"""Quick96: DFL's small df-ud model of 96 pixels, for a swap within minutes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from core.nn.archi import Archi
from core.nn.distribution import SINGLE, Distribution
from core.nn.precision import Precision
from models import autoencoder as df
from models.base import Batch
from models.network import MAIN, NetworkModel, StepLosses, Tuning
from models.quick96_options import Quick96Options
from models.recipes import RECIPES, Plan, Recipe
from samplelib import SampleRequest, SampleSpec

RESOLUTION = 96


class Quick96(NetworkModel):
    """See `Model`. Encoder, inter and two decoders, 38.3 million weights, full face."""

    kind = "Quick96"
    options_class = Quick96Options
    swap_part_names = df.PARTS

    def __init__(
        self,
        name: str,
        options: Quick96Options,
        precision: Precision,
        distribution: Distribution = SINGLE,
    ) -> None:
        self.archi = Archi.parse("df-ud", RESOLUTION, ae_dims=128, e_dims=64, d_dims=64, d_mask_dims=16)
        super().__init__(name, options, precision, distribution)
        self._show = tf.function(lambda src, dst: df.show(self.parts, src, dst))

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
    def part_names(self) -> tuple[str, ...]:
        return df.PARTS

    @property
    def tuning(self) -> Tuning:
        return df.priming_tuning(self)

    def build_part(self, name: str, policy: str) -> keras.Model:
        return df.build_part(self.archi, name, policy, self.options.seed)

    def batch_names(self) -> list[str]:
        return [
            f"{name}_{side}{tail}"
            for side in self.sides
            for name, tail in (("warped", ""), ("target", ""), ("target", "_mask"))
        ]

    def frozen(self, plan: Plan) -> tuple[str, ...]:
        return df.slow_parts() if plan.encoder_share == 0.0 else ()

    def losses(self, tensors: Mapping[str, tf.Tensor]) -> StepLosses:
        faces, masks = df.reconstruct(self.parts, tensors["warped_src"], tensors["warped_dst"])
        wanted = [
            tf.concat([tensors[f"target_{side}{tail}"] for side in self.sides], axis=0)
            for tail in ("", "_mask")
        ]
        terms = df.masked_losses(*wanted, faces, masks)
        src, dst = tf.split(tf.reduce_sum(tf.stack(list(terms.values())), axis=0), 2)
        return StepLosses({"src": src, "dst": dst}, {MAIN: src + dst})

    def swap_graph(
        self, parts: Mapping[str, keras.Model], faces: tf.Tensor, **how: Any
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        return df.swap(parts, faces)

    def sample_request(self, side: str) -> SampleRequest:
        request = super().sample_request(side)
        if not self.recipe.primes:
            return request
        return replace(request, specs=(*request.specs, SampleSpec(f"landmarks_{side}", "landmarks")))

    @property
    def waits_for_priming(self) -> bool:
        return self.is_fresh and self.recipe.primes

    def prime(self, batches: Callable[[int], Batch]) -> None:
        if self.waits_for_priming:
            df.prime(self, batches, self.archi.ae_dims)

    def preview(self, batch: Batch) -> dict[str, np.ndarray]:
        rows = df.PREVIEW_ROWS
        src, dst = batch["target_src"][:rows], batch["target_dst"][:rows]
        src_mask, dst_mask = batch["target_src_mask"][:rows], batch["target_dst_mask"][:rows]
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
        return {"Quick96": df.grid(plain), "Quick96 masked": df.grid(masked)}
