"""SAEHD for several persons: one encoder and inter for all, a decoder for each, like the teeth of a comb.

What all faces share is learnt from all of them, and any person's decoder can paint any other's expression.
With two persons this is the df model of SAEHD, but for names: nobody is the source before a face is swapped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from core.errors import CheckpointError, UsageError
from core.nn.archi import mask_only
from core.nn.distribution import SINGLE, Distribution
from core.nn.precision import Precision
from core.nn.state import STEPS
from models import autoencoder
from models import saehd_losses as terms
from models.base import Batch, Predictor
from models.face_samples import face_request
from models.network import MAIN, StepLosses
from models.saehd import Saehd
from models.saehd_options import SaehdOptions
from samplelib import SampleRequest

SHARED = ("encoder", "inter")
PREVIEW_ROWS, PREVIEW_HEIGHT = 4, 1024


def decoder_of(person: str) -> str:
    """The part that paints a person."""
    return f"decoder_{person}"


class SaehdComb(Saehd):
    """See `Model`. The sides are the persons; the option `persons` names them."""

    HOW = ("src_person", "dst_person")

    def __init__(
        self, name: str, options: SaehdOptions, precision: Precision, distribution: Distribution = SINGLE
    ) -> None:
        self.sides = options.person_names
        self._joined: set[str] = set()  # persons of whom the loaded weights knew nothing
        super().__init__(name, options, precision, distribution)

    @property
    def swap_part_names(self) -> tuple[str, ...]:
        return (*SHARED, *map(decoder_of, self.sides))

    def _request(self, side: str) -> SampleRequest:
        now = self.now
        return face_request(
            now, side, now.eyes_mouth_prio, self.recipe.dfl_warp, now.random_hsv_power, is_source=True
        )

    # Learning

    def losses(self, tensors: Mapping[str, tf.Tensor]) -> StepLosses:
        parts, count = self.parts, len(self.sides)
        faces = tf.concat([tensors[f"warped_{person}"] for person in self.sides], axis=0)
        codes = tf.split(parts["inter"](parts["encoder"](faces)), count)
        made = [parts[decoder_of(person)](code) for person, code in zip(self.sides, codes)]
        face, mask = (tf.concat([output[name] for output in made], axis=0) for name in ("face", "mask"))
        own = tf.split(self._likeness(self._wanted(tensors), face, mask)[0], count)
        return StepLosses(dict(zip(self.sides, own)), {MAIN: terms.total(own)})

    # Use

    def predictor(self, precision: str | None = None, **how: Any) -> Predictor:
        """See `Model.predictor`.

        Args:
            precision: As there.
            how: `src_person`, whose face is put in (by default the first), and `dst_person`, whose face is
                in the frames (by default the second).

        Raises:
            UsageError: There is no such person.
        """
        for key, person in how.items():
            if key in self.HOW and person not in self.sides:
                raise UsageError(f"{self.name} has no {key} {person!r}; known are {', '.join(self.sides)}")
        return super().predictor(precision, **how)

    def swap_graph(
        self,
        parts: Mapping[str, keras.Model],
        faces: tf.Tensor,
        src_person: str = "",
        dst_person: str = "",
        **how: Any,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        src, dst = (parts[decoder_of(person)] for person in self._pair(src_person, dst_person))
        code = parts["inter"](parts["encoder"](faces))
        out = src(code)
        return out["face"], out["mask"], mask_only(dst)(code)

    def swap_parts_for(self, src_person: str = "", dst_person: str = "", **how: Any) -> tuple[str, ...]:
        pair = self._pair(src_person, dst_person)
        return (*SHARED, *dict.fromkeys(map(decoder_of, pair)))

    def _pair(self, src_person: str, dst_person: str) -> tuple[str, str]:
        return src_person or self.sides[0], dst_person or self.sides[1]

    def preview(self, batch: Batch) -> dict[str, np.ndarray]:
        """Rows of faces, person by person; columns: the face, then as every person's decoder paints it."""
        count = len(self.sides)
        rows = min(PREVIEW_ROWS // count, PREVIEW_HEIGHT // (count * self.resolution))
        rows = min(max(1, rows), *(len(batch[f"target_{person}"]) for person in self.sides))
        faces, masks = (
            np.concatenate([batch[f"target_{person}{tail}"][:rows] for person in self.sides])
            for tail in ("", "_mask")
        )
        made = [
            (out["face"].numpy(), out["mask"].numpy()) for out in self._show(tf.constant(faces, tf.float32))
        ]
        own = np.concatenate([made[n][1][n * rows : (n + 1) * rows] for n in range(count)])
        only = self.face_type == "head"
        cut = [face * (mask if only else mask * own) for face, mask in made]
        return {
            "SAEHD": autoencoder.grid((faces, *(face for face, _ in made))),
            "SAEHD masked": autoencoder.grid((faces * masks, *cut)),
        }

    def _show_graph(self, faces: tf.Tensor) -> list[dict[str, tf.Tensor]]:
        """What each person's decoder makes of all faces."""
        code = self.parts["inter"](self.parts["encoder"](faces))
        return [self.parts[decoder_of(person)](code) for person in self.sides]

    # Persons who join later

    def load_weights(self, values: Mapping[str, np.ndarray]) -> None:
        """See `Model.load_weights`. The decoder of a person who joins has fresh weights."""
        values = dict(values)
        known = {path.partition("/")[0] for path in values}
        self._joined = {person for person in self.sides if decoder_of(person) not in known}
        for person in self._joined:
            part = decoder_of(person)
            fresh = self.variables_of({part: self.build_part(part, self.precision.policy)})
            values |= {path: variable.numpy() for path, variable in fresh.items()}
        super().load_weights(values)

    def load_optimizer_state(self, state: Mapping[str, np.ndarray]) -> bool:
        """See `Model.load_optimizer_state`. The slots of a person who joins start at zero."""
        prefixes = tuple(f"{decoder_of(person)}/" for person in self._joined)
        kinds = {key.partition("/")[0] for key in state} - {STEPS}
        fresh = {
            f"{slot}/{path}": np.zeros(shape, np.float32)
            for slot in kinds
            for path, shape in self.weight_shapes().items()
            if prefixes and path.startswith(prefixes)
        }
        return super().load_optimizer_state({**state, **fresh})

    def restore(self, iteration: int, loss_history: np.ndarray) -> None:
        """See `Model.restore`. Who joins has no losses before."""
        missing = len(self.sides) - loss_history.shape[1]
        if missing < 0:
            raise CheckpointError(
                f"{self.name}: the saved model is of {loss_history.shape[1]} persons, not only of "
                f"{', '.join(self.sides)}; name all of them"
            )
        if missing > 0:
            loss_history = np.pad(loss_history, ((0, 0), (0, missing)), constant_values=np.nan)
        super().restore(iteration, loss_history)

    def options_changed(self, saved: SaehdOptions) -> None:
        lost = [person for person in saved.person_names if person in self._joined]
        if lost:
            raise CheckpointError(f"{self.name}: the saved model lacks the decoder of {', '.join(lost)}")
        super().options_changed(saved)
        if self._joined:
            names = ", ".join(person for person in self.sides if person in self._joined)
            self.notes.append(f"new in this model: {names}, with fresh decoders; all others go on")
