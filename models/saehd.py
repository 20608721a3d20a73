"""SAEHD: DFL's main model. Two families of networks, and losses that are switched on as a training ripens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from core.errors import UsageError
from core.nn.archi import Archi
from core.nn.discriminators import build_code_discriminator, build_patch_discriminator
from core.nn.distribution import SINGLE, Distribution
from core.nn.losses import fan_out
from core.nn.memory import MemoryEstimate
from core.nn.perceptual import PerceptualLoss, kept_by_features
from core.nn.precision import Precision
from core.nn.state import STEPS
from models import autoencoder, face_losses, saehd_graph
from models import saehd_losses as terms
from models.base import Batch
from models.face_options import OTHER_PATCH
from models.face_samples import face_request
from models.growth import Grid, grown_slots, grown_weights, resolution_at, stages
from models.network import MAIN, NetworkModel, Spared, StepLosses, Tuning
from models.recipes import Plan, Recipe
from models.saehd_options import SaehdOptions
from models.saehd_recipe import in_force, saehd_recipe
from samplelib import SampleRequest, SampleSpec

CODE_JUDGE, FACE_JUDGE = "dis", "D_src"  # DFL's names of the discriminators
PREVIEW_ROWS, PREVIEW_HEIGHT = 4, 800
TOGETHER_UP_TO = 256  # resolution up to which a preview shows everything in one picture


class Saehd(NetworkModel):
    """See `Model`. The batch has `target_{side}_eyes`, (N, R, R, 1), too, where eyes and mouth count more."""

    kind = "SAEHD"
    options_class = SaehdOptions
    options: SaehdOptions
    OPTIONAL_PARTS = (CODE_JUDGE, FACE_JUDGE)

    def __init__(
        self,
        name: str,
        options: SaehdOptions,
        precision: Precision,
        distribution: Distribution = SINGLE,
    ) -> None:
        self.now = in_force(options)
        self.archi = self._archi_at(resolution_at(options.to_json(), 0), options)
        self._recipe = saehd_recipe(options)
        self._seer: PerceptualLoss | None = None
        self._new_inters = False  # with weights that nothing was learnt by, in a model that is not fresh
        super().__init__(name, options, precision, distribution)

    def build_networks(self) -> None:
        super().build_networks()
        self._show = tf.function(self._show_graph, autograph=False)

    @staticmethod
    def _archi_at(resolution: int, o: SaehdOptions) -> Archi:
        return Archi.parse(o.archi, resolution, o.ae_dims, o.e_dims, o.d_dims, o.d_mask_dims)

    @property
    def resolution(self) -> int:
        """The present one; below that of the options while the faces grow."""
        return self.archi.resolution

    @property
    def face_type(self) -> str:
        return self.options.full_face_type

    @property
    def recipe(self) -> Recipe:
        return self._recipe

    @property
    def options_in_force(self) -> SaehdOptions:
        return self.now

    # The networks

    @property
    def part_names(self) -> tuple[str, ...]:
        judges = {CODE_JUDGE: self.now.true_face_power, FACE_JUDGE: self.now.gan_power}
        grown = self.resolution == self.options.resolution  # else `prime` refuses them
        return (*self.swap_part_names, *(name for name, power in judges.items() if power and grown))

    @property
    def swap_part_names(self) -> tuple[str, ...]:
        return saehd_graph.PARTS[self.archi.family]

    @property
    def optimizer_parts(self) -> dict[str, tuple[str, ...]]:
        # in DFL's pretraining the code discriminator speaks, but does not learn
        resting = (CODE_JUDGE,) if self.options.pretrain else ()
        return {name: parts for name, parts in super().optimizer_parts.items() if name not in resting}

    def build_part(self, name: str, policy: str) -> keras.Model:
        o = self.options
        if name == CODE_JUDGE:
            return build_code_discriminator(self.archi.code_shape, policy, o.seed, name)
        if name == FACE_JUDGE:
            return build_patch_discriminator(
                self.resolution, o.gan_patch_size, o.gan_dims, policy, o.seed, name
            )
        return autoencoder.build_part(self.archi, name, policy, o.seed)

    @property
    def tuning(self) -> Tuning:
        if not self.recipe.primes:
            return Tuning()
        return autoencoder.priming_tuning(self, saehd_graph.READERS[self.archi.family])

    @property
    def spared(self) -> Spared:
        return Spared(not self.now.models_opt_on_gpu, self.now.lr_dropout == "cpu")

    @property
    def steps_apart(self) -> bool:
        return self.options.dfl_compat

    def frozen(self, plan: Plan) -> tuple[str, ...]:
        """Without the warp liae's shared inter rests; in pretraining that would waste it, which DFL does."""
        rests = not self.now.random_warp and (self.options.dfl_compat or not self.options.pretrain)
        resting = ("inter_AB/",) if rests and self.archi.family == "liae" else ()
        if plan.encoder_share:
            return resting
        return (*resting, *autoencoder.slow_parts(saehd_graph.READERS[self.archi.family]))

    # The samples

    def sample_request(self, side: str) -> SampleRequest:
        request = replace(self._request(side), resolution=self.resolution)
        if self.recipe.primes:
            request = replace(request, augment_share=self.recipe.augment_share)
        if self.waits_for_priming:
            request = replace(request, specs=(*request.specs, SampleSpec(f"landmarks_{side}", "landmarks")))
        return request

    def _request(self, side: str) -> SampleRequest:
        now = self.now
        return face_request(now, side, now.eyes_mouth_prio, self.recipe.dfl_warp, now.random_hsv_power)

    def batch_names(self) -> list[str]:
        return [name for name in super().batch_names() if not name.startswith("landmarks_")]

    @property
    def waits_for_priming(self) -> bool:
        return self.recipe.primes and (self.is_fresh or self._new_inters)

    # The losses

    def losses(self, tensors: Mapping[str, tf.Tensor]) -> StepLosses:
        now, parts, wanted = self.now, self.parts, self._wanted(tensors)
        made = saehd_graph.run(
            parts,
            tensors["warped_src"],
            tensors["warped_dst"],
            swap=now.bg_style_power > 0,
            painted=now.face_style_power > 0,
        )
        face, mask = (tf.concat([made.src[name], made.dst[name]], axis=0) for name in ("face", "mask"))
        judged, masked = now.gan_power > 0, now.masked_training
        own, target, for_judge, for_border = self._likeness(wanted, face, mask, judged)
        of_src, of_dst = tf.split(own, 2)
        of_src = terms.total([of_src, *self._styles(made, wanted)])

        paid, judges = [of_src, of_dst], {}
        if now.true_face_power:
            fooled, judges[CODE_JUDGE] = terms.judged_codes(parts[CODE_JUDGE], made.codes)
            paid.append(now.true_face_power * fooled)
        if judged:
            real, fake = _first(target), _first(for_judge[0])
            fooled, judges[FACE_JUDGE] = terms.judged_faces(parts[FACE_JUDGE], real, fake)
            paid.append(now.gan_power * fooled)
            if masked:
                border = (_first(x) for x in (for_border[0], wanted.face, wanted.soft))
                paid.append(terms.clean_border(*border))
        return StepLosses({"src": of_src, "dst": of_dst}, {MAIN: terms.total(paid), **judges})

    def _likeness(
        self, wanted: face_losses.Targets, face: tf.Tensor, mask: tf.Tensor, judged: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor], list[tf.Tensor]]:
        """How far reconstructions are from what they should be.

        Args:
            wanted: What the faces should become.
            face: (N, R, R, 3).
            mask: (N, R, R, 1).
            judged: Whether a discriminator looks at the faces, too.

        Returns:
            The sum of all terms, (N,); the targets as the terms take them; if judged, one copy each of the
            faces like them and, in masked training, of the whole faces.
        """
        now, seen = self.now, self.now.perceptual_power > 0
        face, *more = fan_out(face, 1 + now.eyes_mouth_prio + (judged and now.masked_training))
        target, found = (wanted.masked, face * wanted.soft) if now.masked_training else (wanted.face, face)
        for_structure, for_pixels, *rest = fan_out(found, 2 + seen + judged)
        own = [
            face_losses.structure(target, for_structure, terms.window_sizes(target.shape[1])),
            face_losses.pixels(target, for_pixels),
            face_losses.mask_error(wanted, mask),
        ]
        if now.eyes_mouth_prio:
            own.append(face_losses.eyes_and_mouth(wanted, more.pop()))
        if seen:
            unlike = self._perceptual()(target, rest.pop())
            own.append(face_losses.STRUCTURE_POWER * now.perceptual_power * unlike)
        return terms.total(own), target, rest, more

    def _perceptual(self) -> PerceptualLoss:
        """Loaded when first needed: merging needs none."""
        if self._seer is None:
            self._seer = PerceptualLoss(self.now.perceptual_weights, self.precision.compute)
        return self._seer

    def prime(self, batches: Callable[[int], Batch]) -> None:
        """See `Model.prime`."""
        self.prepare()
        if self.waits_for_priming:
            autoencoder.prime(self, batches, self.archi.ae_dims, saehd_graph.READERS[self.archi.family])
            self._new_inters = False

    def prepare(self) -> None:
        """See `Model.prepare`. VGG16 for the perceptual loss, and full-sized faces for the discriminators."""
        if self.now.perceptual_power > 0:
            self._perceptual()
        judges = [name for name in ("gan_power", "true_face_power") if getattr(self.now, name)]
        if judges and self.resolution < self.options.resolution:
            last = (
                len(stages(self.options.grow_from, self.options.resolution)) - 1
            ) * self.options.grow_iters
            raise UsageError(
                f"option {judges[0]}: {self.name} still grows, with faces of {self.resolution} of "
                f"{self.options.resolution} pixels; give 0 until iteration {last}"
            )

    def _step(self, batch: Batch) -> dict[str, float]:
        self.prepare()
        return super()._step(batch)

    def _wanted(self, tensors: Mapping[str, tf.Tensor]) -> face_losses.Targets:
        """Of both sides, the source's samples before the destination's."""
        tails = ("", "_mask", "_eyes") if self.now.eyes_mouth_prio else ("", "_mask")
        both = [tf.concat([tensors[f"target_{side}{tail}"] for side in self.sides], axis=0) for tail in tails]
        return face_losses.targets(*(both if len(both) == 3 else [*both, None]), self.now.blur_out_mask)

    def _styles(self, made: saehd_graph.Pass, wanted: face_losses.Targets) -> list[tf.Tensor]:
        """What the swap is to have of the destination: colours inside of the face, everything around it."""
        now, found, dst = self.now, [], made.dst
        if now.face_style_power:
            swap, power = made.painted, now.face_style_power / 100
            found.append(terms.face_style(swap["face"], swap["mask"], dst["face"], dst["mask"], power))
        if now.bg_style_power:
            swap, power = made.swap, now.bg_style_power / 100
            if now.dfl_compat:  # DFL's slip: around the source's own face, not around the swapped one
                soft = _first(wanted.soft)
            else:
                soft = face_losses.soft_mask(tf.stop_gradient(swap["mask"] * dst["mask"]))
            found.append(terms.background_style(swap["face"], tf.split(wanted.face, 2)[1], soft, power))
        return found

    # Use

    def swap_graph(
        self, parts: Mapping[str, keras.Model], faces: tf.Tensor, **how: Any
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        return saehd_graph.swap(parts, faces)

    def preview(self, batch: Batch) -> dict[str, np.ndarray]:
        rows = max(1, min(PREVIEW_ROWS, len(batch["target_src"]), PREVIEW_HEIGHT // self.resolution))
        src, dst, src_mask, dst_mask = (
            batch[name][:rows] for name in ("target_src", "target_dst", "target_src_mask", "target_dst_mask")
        )
        outputs = self._show(tf.constant(src, tf.float32), tf.constant(dst, tf.float32))
        (src_face, _), (dst_face, found_mask), (swap, swap_mask) = (
            (output["face"].numpy(), output["mask"].numpy()) for output in outputs
        )
        shown = swap_mask if self.face_type == "head" else found_mask * swap_mask
        plain = ((src, src_face), (dst, dst_face), (swap,))
        masked = ((src * src_mask, src_face), (dst * dst_mask, dst_face * found_mask), (swap * shown,))
        pictures = {}
        for title, (of_src, of_dst, of_swap) in (("SAEHD", plain), ("SAEHD masked", masked)):
            if self.resolution <= TOGETHER_UP_TO:
                pictures[title] = autoencoder.grid((*of_src, *of_dst, *of_swap))
            else:
                pictures[f"{title} src-src"] = autoencoder.grid(of_src)
                pictures[f"{title} dst-dst"] = autoencoder.grid(of_dst)
                pictures[f"{title} pred"] = autoencoder.grid((of_dst[0], *of_swap))
        return pictures

    def _show_graph(self, src: tf.Tensor, dst: tf.Tensor) -> tuple[saehd_graph.Output, ...]:
        """Both persons' reconstructions and the swap."""
        made = saehd_graph.run(self.parts, src, dst, swap=True)
        return made.src, made.dst, made.swap

    # Growth

    def train_step(self, batch: Batch) -> dict[str, float]:
        """See `Model.train_step`. After it the networks are of the next iteration's resolution."""
        losses = super().train_step(batch)
        resolution = resolution_at(self.options.to_json(), self.iteration)
        if resolution != self.resolution:
            self._grow(resolution)
        return losses

    def memory(self) -> MemoryEstimate:
        """What training needs in the end, when the faces have their full size, VGG16's maps included."""
        side, now = self.options.resolution, self.now
        found = super().memory().grown((side / self.resolution) ** 2)
        if not now.perceptual_power:
            return found
        faces = len(self.sides) * now.batch_size / self.distribution.replicas
        return found.beside("VGG16", faces * kept_by_features(side, 2 if found.half else 4))

    def summary_rows(self) -> list[tuple[str, str]]:
        o = self.options
        sizes = stages(o.grow_from, o.resolution)
        steps = [f"{size} from {number * o.grow_iters}" for number, size in enumerate(sizes)]
        return [*super().summary_rows(), *([("grows", ", ".join(steps))] if o.grow_from else [])]

    def _grow(self, resolution: int) -> None:
        """Go on with larger faces, with what was learnt from smaller ones."""
        old, new = (Grid.of(self.options.archi, size) for size in (self.resolution, resolution))
        weights, state = grown_weights(self.weights(), old, new), self.optimizer_state()
        slots = {key: state.pop(key) for key in list(state) if not key.startswith(STEPS)}
        self._resize(resolution)
        self.load_weights(weights)
        self.load_optimizer_state({**state, **grown_slots(slots, old, new)})

    def _resize(self, resolution: int) -> None:
        self.archi = self._archi_at(resolution, self.options)
        self.build_networks()

    def restore(self, iteration: int, loss_history: np.ndarray) -> None:
        """See `Model.restore`. Networks of another resolution than that of the iteration are made anew."""
        super().restore(iteration, loss_history)
        resolution = resolution_at(self.options.to_json(), self.iteration)
        if resolution != self.resolution:
            self._resize(resolution)

    # A change of options

    def options_changed(self, saved: SaehdOptions) -> None:
        """See `Model.options_changed`. The end of pretraining, and another size of the GAN's network."""
        if saved.pretrain and not self.options.pretrain:
            inters = saehd_graph.INTERS[self.archi.family]
            for part in inters:
                self.renew_weights(part)
            self._new_inters = True
            self.restore(0, np.zeros((0, len(self.sides)), np.float32))
            fresh = f"{' and '.join(inters)} with fresh weights"
            self.notes.append(f"pretraining is over: training begins at iteration 0, {fresh}")
        if saved.gan_patch_size != self.options.gan_patch_size:
            self.renew_optional(FACE_JUDGE, OTHER_PATCH)


def _first(x: tf.Tensor) -> tf.Tensor:
    """The source's half of a batch of both persons."""
    return tf.split(x, 2)[0]
