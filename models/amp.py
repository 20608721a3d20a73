"""AMP: one encoder and one decoder; between them an inter for each person, whose channels can be mixed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from core.nn import archi as nets
from core.nn.discriminators import build_patch_discriminator
from core.nn.distribution import SINGLE, Distribution
from core.nn.losses import fan_out, squared_error
from core.nn.precision import Precision
from core.nn.state import STEPS
from models import face_losses as terms
from models.amp_options import AmpOptions
from models.base import Batch
from models.face_options import OTHER_PATCH
from models.face_samples import face_request
from models.network import MAIN, NetworkModel, Spared, StepLosses
from models.recipes import Recipe, detail_recipe
from samplelib import SampleRequest

INTERS = ("inter_src", "inter_dst")
GAN = "GAN"
CHANNELS = "src_channels"  # the array of `extra_inputs`
SHOWN_MORPHS = (0.25, 0.5, 0.65, 0.75, 1.0)
DST_BORDER, SRC_BORDER = 0.1, 0.02


class Amp(NetworkModel):
    """See `Model`. Section 8 of the reference.

    DFL never trains the inters: they stay random. Here they learn, unless the option `dfl_compat` is set.
    """

    kind = "AMP"
    options_class = AmpOptions
    options: AmpOptions
    OPTIONAL_PARTS = (GAN,)
    HOW = ("morph_factor",)
    swap_part_names = ("encoder", *INTERS, "decoder")

    def __init__(
        self, name: str, options: AmpOptions, precision: Precision, distribution: Distribution = SINGLE
    ) -> None:
        self.archi = nets.AmpArchi(
            options.resolution,
            options.ae_dims,
            options.inter_dims,
            options.e_dims,
            options.d_dims,
            options.d_mask_dims,
        )
        super().__init__(name, options, precision, distribution)
        self._show = tf.function(self._show_graph, autograph=False)

    @property
    def resolution(self) -> int:
        return self.options.resolution

    @property
    def face_type(self) -> str:
        return self.options.full_face_type

    @property
    def recipe(self) -> Recipe:
        options = self.options
        return detail_recipe("adabelief", options.dfl_compat, options.lr_dropout != "n", options.clipgrad)

    @property
    def part_names(self) -> tuple[str, ...]:
        return (*self.swap_part_names, *((GAN,) if self.options.gan_power else ()))

    @property
    def optimizer_parts(self) -> dict[str, tuple[str, ...]]:
        groups = super().optimizer_parts
        if self.options.dfl_compat:
            groups[MAIN] = tuple(part for part in groups[MAIN] if part not in INTERS)
        return groups

    @property
    def spared(self) -> Spared:
        return Spared(not self.options.models_opt_on_gpu, self.options.lr_dropout == "cpu")

    @property
    def steps_apart(self) -> bool:
        return self.options.dfl_compat

    def build_part(self, name: str, policy: str) -> keras.Model:
        options, seed = self.options, self.options.seed
        if name == GAN:
            size = options.gan_patch_size
            return build_patch_discriminator(options.resolution, size, options.gan_dims, policy, seed, name)
        build = nets.build_amp_inter if name in INTERS else nets.build_amp_encoder
        return (nets.build_decoder if name == "decoder" else build)(self.archi, policy, seed, name)

    def sample_request(self, side: str) -> SampleRequest:
        return face_request(self.options, side, eyes=True, dfl_warp=self.recipe.dfl_warp)

    def extra_inputs(self, batch: Batch) -> dict[str, np.ndarray]:
        """Which of the code's channels come from `inter_src` for each source face, (N, I) of 0 and 1.

        Every row has `int(I morph_factor)` ones; seed, iteration and its number in the batch decide where.
        """
        count = self.archi.inter_dims
        rows = np.zeros((len(batch["warped_src"]), count), np.float32)
        for number, row in enumerate(rows):
            rng = np.random.default_rng([self.options.seed, self.iteration, number])
            row[rng.permutation(count)[: int(count * self.options.morph_factor)]] = 1.0
        return {CHANNELS: rows}

    # The step

    def losses(self, tensors: Mapping[str, tf.Tensor]) -> StepLosses:
        joined = (  # src before dst
            tf.concat([tensors[f"target_{side}{tail}"] for side in self.sides], axis=0)
            for tail in ("", "_mask", "_eyes")
        )
        wanted = terms.targets(*joined, blur_out=self.options.blur_out_mask)
        out, size = self._reconstruct(tensors), self.resolution
        compared, for_eyes, for_border = fan_out(out["face"], 3)
        found = fan_out(compared * wanted.soft, 3 if self._has_gan else 2)
        own = total(
            [
                terms.structure(wanted.masked, found[0], (int(size / 11.6), int(size / 23.2))),
                terms.pixels(wanted.masked, found[1]),
                terms.eyes_and_mouth(wanted, for_eyes),
                terms.mask_error(wanted, out["mask"]),
            ]
        )
        src, dst = tf.split(own, 2)
        main, objectives = [src, dst, self._border(wanted, for_border)], {}
        if self._has_gan:
            forger, objectives[GAN] = self._judged(wanted.masked, found[2])
            main.append(self.options.gan_power * forger)
        return StepLosses({"src": src, "dst": dst}, {MAIN: total(main), **objectives})

    @property
    def _has_gan(self) -> bool:
        return GAN in self.part_names

    def _reconstruct(self, tensors: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Source faces from mixed codes, then destination faces from their own: `face`, `mask`."""
        parts = self.parts
        vectors = parts["encoder"](tf.concat([tensors["warped_src"], tensors["warped_dst"]], axis=0))
        of_dst = parts["inter_dst"](vectors)
        src_half, dst_half = tf.split(of_dst, 2)
        mixed = tf.where(
            tensors[CHANNELS][:, None, None, :] > 0.5, parts["inter_src"](tf.split(vectors, 2)[0]), src_half
        )
        return parts["decoder"](tf.concat([mixed, dst_half], axis=0))

    def _border(self, wanted: terms.Targets, found: tf.Tensor) -> tf.Tensor:
        """What keeps the outside of the soft mask quiet and in place, (N,): dst's, and beside a GAN src's."""
        (src, dst), (src_face, dst_face) = tf.split(found, 2), tf.split(wanted.face, 2)
        src_outside, dst_outside = tf.split(wanted.around, 2)
        around, slip = dst * dst_outside, self.options.dfl_compat
        paid = [DST_BORDER * squared_error(around, dst_face * dst_outside), terms.variation(around, slip)]
        if self._has_gan:
            paid.append(SRC_BORDER * squared_error(src * src_outside, src_face * src_outside))
            paid.append(terms.variation(src, slip))
        return total(paid)

    def _judged(self, real: tf.Tensor, fake: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """What the patch discriminator makes the networks pay, and what it pays for its errors, (N,) each.

        It sees real and fake faces apart, so that the networks' gradient does not run through the real ones.
        """
        of_real, of_fake = self.parts[GAN](real), self.parts[GAN](fake)
        errors = terms.cross_entropies(1.0, of_real) + terms.cross_entropies(0.0, of_fake)
        forger = terms.cross_entropies(1.0, of_fake)
        return total(tf.split(forger, 2)), total(tf.split(errors, 2)) / 8.0

    # Use

    def swap_graph(
        self, parts: Mapping[str, keras.Model], faces: tf.Tensor, **how: Any
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """See `NetworkModel`.

        Args:
            how: `morph_factor` in [0, 1], a number or a tensor () or (1,): 1 (the default) is the source.
        """
        vectors = parts["encoder"](faces)
        code_dst = parts["inter_dst"](vectors)
        code = nets.morph_codes(parts["inter_src"](vectors), code_dst, how.get("morph_factor", 1.0))
        out = parts["decoder"](code)
        return out["face"], out["mask"], nets.mask_only(parts["decoder"])(code_dst)

    def preview(self, batch: Batch) -> dict[str, np.ndarray]:
        """The first face of each person: reconstructions, and the swap at several mixtures."""
        src, dst = (np.asarray(batch[f"target_{side}"][:1], np.float32) for side in self.sides)
        channels = self.extra_inputs({"warped_src": src})[CHANNELS]
        faces, masks = (found.numpy() for found in self._show(tf.constant(src), tf.constant(dst), channels))
        src_own, dst_own, *swaps = faces
        dst_mask = masks[1]
        shown = [face * dst_mask * mask for face, mask in zip(swaps, masks[2:])]
        grids = {
            "AMP morph 1.0": ((src[0], dst[0], dst_own * dst_mask), (src_own, dst_own, swaps[-1])),
            "AMP morph list": ((dst_own, *swaps[:2]), swaps[2:]),
            "AMP morph list masked": ((dst_own, *shown[:2]), shown[2:]),
        }
        return {name: _grid(rows) for name, rows in grids.items()}

    def _show_graph(self, src: tf.Tensor, dst: tf.Tensor, channels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Faces and masks of source, destination and the swaps at `SHOWN_MORPHS`, (7, R, R, C)."""
        src_vector, dst_vector = tf.split(self.parts["encoder"](tf.concat([src, dst], axis=0)), 2)
        inter_src, inter_dst = (self.parts[name] for name in INTERS)
        mixed = tf.where(channels[:, None, None, :] > 0.5, inter_src(src_vector), inter_dst(src_vector))
        own = inter_dst(dst_vector)
        swaps = nets.morph_codes(inter_src(dst_vector), own, tf.constant(SHOWN_MORPHS))
        out = self.parts["decoder"](tf.concat([mixed, own, swaps], axis=0))
        return out["face"], out["mask"]

    # State

    def load_optimizer_state(self, state: Mapping[str, np.ndarray]) -> bool:
        """See `Model.load_optimizer_state`.

        Slots of the inters may be absent, as in DFL's files: they begin at zero, with a note. Where the
        inters do not learn now, their slots are kept and saved again.
        """
        slots = self.optimizers[MAIN].slots
        of_inters = {key for key in state if key != STEPS and key.split("/")[1] in INTERS}
        idle = {key: state[key] for key in of_inters if key not in slots}
        taken = {key: value for key, value in state.items() if key not in idle}
        if not of_inters and any(key.partition("/")[0] in ("m", "v") for key in taken):
            absent = {key: slot for key, slot in slots.items() if key.split("/")[1] in INTERS}
            taken |= {key: np.zeros(slot.shape, np.float32) for key, slot in absent.items()}
            if absent:
                self.notes.append("the inters, which were not trained so far, learn from now on")
        known = super().load_optimizer_state(taken)
        self._kept_state |= idle
        return known

    def options_changed(self, saved: AmpOptions) -> None:
        """See `Model.options_changed`. The GAN's network judges patches of one size only."""
        if saved.gan_patch_size != self.options.gan_patch_size:
            self.renew_optional(GAN, OTHER_PATCH)


def total(parts: list[tf.Tensor]) -> tf.Tensor:
    """The sum of terms, (N,), rounded alike in every run (`core.nn.losses`)."""
    return tf.reduce_sum(tf.stack(parts), axis=0)


def _grid(rows: Any) -> np.ndarray:
    """Rows of images as one, float32 in [0, 1]."""
    picture = np.concatenate([np.concatenate(list(row), axis=1) for row in rows], axis=0)
    return np.clip(picture, 0.0, 1.0).astype(np.float32)
