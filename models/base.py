"""What a swap model is to trainer and merger: options, one training step, predictor, preview, state."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from core.options import NEVER, OptionSet, opt
from models.recipes import Recipe

if TYPE_CHECKING:
    from core.nn.precision import Precision
    from models.tensor_file import Arrays
    from samplelib import SampleRequest

Batch = Mapping[str, np.ndarray]
Predictor = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]

PRECISIONS = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True, kw_only=True)
class ModelOptions(OptionSet):
    """What every model can be asked; saved with it under the same names."""

    autobackup_hour: int = opt(0, "Hours between automatic backups; 0 makes none.", low=0, high=24)
    write_preview_history: bool = opt(False, "Keep a preview picture of every few iterations on disk.")
    target_iter: int = opt(0, "Stop training at this iteration; 0 goes on until stopped.", low=0)
    random_src_flip: bool = opt(
        False,
        "Mirror 40 % of the source faces: more views, but hair partings and moles wander.",
        label="Flip src faces randomly",
    )
    random_dst_flip: bool = opt(
        False,
        "Mirror 40 % of the destination faces: generalises better where there are few.",
        label="Flip dst faces randomly",
    )
    batch_size: int = opt(4, "Faces of each person per iteration.", low=1, high=1024)
    precision: str = opt(
        "auto",
        "Number type of the networks' arithmetic; auto takes what is fast here. Weights stay float32.",
        choices=PRECISIONS,
        ask=NEVER,
    )
    xla: str = opt(
        "auto",
        "What XLA compiles: auto the optimizer's update, step the whole step (for GPUs), off nothing.",
        choices=("auto", "step", "off"),
        ask=NEVER,
    )
    seed: int = opt(0, "Start of every random number of a training.", low=0, high=2**31 - 1, ask=NEVER)

    @property
    def full_face_type(self) -> str:
        """The face type as facesets name it; this one where it is no option."""
        return "full_face"

    @classmethod
    def usual(cls, gpu_memory: int = 0) -> ModelOptions:
        """The defaults of a new model.

        Args:
            gpu_memory: Bytes of the smallest GPU that is to train it; 0 where there is none.
        """
        return cls()


class LossHistory:
    """Losses of all iterations, (N, K) float32 for K persons, in an array that grows by doubling."""

    def __init__(self, rows: np.ndarray | None = None, count: int = 2) -> None:
        empty = np.zeros((0, count), np.float32)
        rows = empty if rows is None else np.asarray(rows, np.float32).reshape(-1, count)
        self._rows, self._count = rows.copy(), len(rows)

    def append(self, *losses: float) -> None:
        if self._count == len(self._rows):
            grown = np.zeros((max(256, 2 * self._count), self._rows.shape[1]), np.float32)
            grown[: self._count] = self._rows[: self._count]
            self._rows = grown
        self._rows[self._count] = losses
        self._count += 1

    def array(self) -> np.ndarray:
        """(N, K) float32 view; do not write into it."""
        return self._rows[: self._count]


class Model(abc.ABC):
    """A face-swap model. It touches no files, asks nothing and opens no windows.

    A batch is a dict of float32 NHWC arrays in [0, 1]: `warped_src`, `target_src` (N, R, R, 3 BGR),
    `target_src_mask` (N, R, R, 1), and the same three for `dst` and any further side; more where a model's
    `sample_request` asks for it.
    """

    kind: ClassVar[str]
    options_class: ClassVar[type[ModelOptions]]
    sides: tuple[str, ...] = ("src", "dst")  # whose faces it learns; each has a loss of its own

    def __init__(self, name: str, options: ModelOptions, precision: Precision) -> None:
        self.name, self.options, self.precision = name, options, precision
        self.iteration = 0
        self.history = LossHistory(count=len(self.sides))
        self.unknown_options: dict[
            str, Any
        ] = {}  # entries of a saved file that no option has now; saved again
        self.extra_state: dict[str, Any] = {}  # what the trainer saved beside the model
        self.notes: list[str] = []  # what loading has to say to the user
        self.rate_scale = 1.0  # of the recipe's learning rate; the trainer lowers it after a collapse
        self.is_fresh = True  # the weights are random: nothing was loaded, primed or learnt yet

    @property
    @abc.abstractmethod
    def resolution(self) -> int:
        """Side of the network's faces in pixels."""

    @property
    @abc.abstractmethod
    def face_type(self) -> str:
        """DFL's name of the face type, such as `full_face`."""

    @property
    @abc.abstractmethod
    def recipe(self) -> Recipe:
        """Optimizer and schedule."""

    @property
    def loss_history(self) -> np.ndarray:
        """(N, K) float32 mean losses of the sides (src, dst) per iteration."""
        return self.history.array()

    def batch_for(self, iteration: int) -> tuple[int, bool]:
        """Number of the batch that an iteration takes, and whether it sees the unwarped targets as inputs.

        The trainer hands over the batch of that number; `train_step` itself puts the targets in.
        """
        return self.recipe.batch_for(iteration)

    def sample_request(self, side: str) -> SampleRequest:
        """What a loader must prepare for one of `sides`: warped input, target, mask of the full face."""
        from samplelib import AugmentOptions, SampleRequest, SampleSpec

        flip = self.options.random_src_flip if side == "src" else self.options.random_dst_flip
        recipe = self.recipe
        return SampleRequest(
            specs=(
                SampleSpec(f"warped_{side}", "image", warp=True),
                SampleSpec(f"target_{side}", "image"),
                SampleSpec(f"target_{side}_mask", "mask"),
            ),
            resolution=self.resolution,
            face_type=self.face_type,
            batch_size=self.options.batch_size,
            augment=AugmentOptions(flip=flip, dfl_warp=recipe.dfl_warp),
            augment_share=recipe.augment_share,
        )

    def prepare(self) -> None:  # noqa: B027 - most models need nothing
        """Check and load what training needs beside the networks, before anything is said to begin.

        Raises:
            SwapError: It is not there, or the model cannot be trained with its options yet.
        """

    @property
    def waits_for_priming(self) -> bool:
        """Whether `prime` will do something that takes a while."""
        return False

    def prime(self, batches: Callable[[int], Batch]) -> None:  # noqa: B027 - most models need none
        """Give fresh weights a head start from the faces they will see; others are left alone.

        The trainer calls it before the first iteration.

        Args:
            batches: The batch of a number, as `batch_for` numbers them.
        """

    def place(self, batch: Batch) -> Batch:
        """The batch as `train_step` takes it fastest; called from a thread, while another step may run."""
        return batch

    def train_step(self, batch: Batch) -> dict[str, float]:
        """One optimizer step on all persons.

        Returns:
            Mean loss of each side before the update; further means, such as a discriminator's, under names
            with a slash. They may be NaN: the caller decides.
        """
        if self.batch_for(self.iteration)[1]:
            batch = {**batch, **{f"warped_{side}": batch[f"target_{side}"] for side in self.sides}}
        losses = self._step(batch)
        self.history.append(*(losses[side] for side in self.sides))
        self.iteration += 1
        self.is_fresh = False
        return losses

    @abc.abstractmethod
    def _step(self, batch: Batch) -> dict[str, float]:
        """Compute the losses and update the weights, by the plan of `self.iteration`."""

    @abc.abstractmethod
    def predictor(self, precision: str | None = None, **how: Any) -> Predictor:
        """A function for the merger, with its own copy of the weights of this moment.

        It maps faces (N, R, R, 3) float32 BGR in [0, 1] of the destination to the swapped face (N, R, R, 3),
        the source decoder's mask and the destination decoder's mask, (N, R, R, 1) each, float32 in [0, 1].

        Args:
            precision: `float32`, `bfloat16` or `float16` arithmetic; `None` takes the model's.
            how: What a kind of model leaves open until it is used, such as AMP's `morph_factor`.

        Raises:
            UsageError: `how` has what this kind does not know.
        """

    @abc.abstractmethod
    def preview(self, batch: Batch) -> dict[str, np.ndarray]:
        """Pictures by name, (H, W, 3) float32 BGR in [0, 1]: one row per face, at most four."""

    @abc.abstractmethod
    def weights(self) -> dict[str, np.ndarray]:
        """Float32 copies of the weights by path, such as `encoder/down1/downs_0/conv1/weight`."""

    @abc.abstractmethod
    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the weights by path."""

    @abc.abstractmethod
    def load_weights(self, values: Mapping[str, np.ndarray]) -> None:
        """Take over weights.

        Raises:
            CheckpointError: Some are missing, left over or misshapen; none was taken over.
        """

    @abc.abstractmethod
    def optimizer_state(self) -> dict[str, np.ndarray]:
        """Slots by `<slot>/<weight path>` and counters."""

    def deferred_weights(self) -> Arrays:
        """As `weights`; large models let arrays be fetched one at a time: for saving, not for keeping."""
        return self.weights()

    def deferred_optimizer_state(self) -> Arrays:
        """As `optimizer_state`, in the manner of `deferred_weights`."""
        return self.optimizer_state()

    @abc.abstractmethod
    def load_optimizer_state(self, state: Mapping[str, np.ndarray]) -> bool:
        """Take over an optimizer's state; False if it is another optimizer's and a fresh one was made.

        Raises:
            CheckpointError: It is of this optimizer but incomplete.
        """

    @property
    def options_in_force(self) -> ModelOptions:
        """The options as they work now: a mode such as pretraining may overrule some."""
        return self.options

    def restore(self, iteration: int, loss_history: np.ndarray) -> None:
        """Set the counters that a checkpoint holds; called before its weights are loaded."""
        self.iteration = int(iteration)
        self.history = LossHistory(loss_history, len(self.sides))

    def options_changed(self, saved: ModelOptions) -> None:  # noqa: B027 - most changes need nothing
        """Do what a change of options asks for; called when a checkpoint was loaded, with its options."""

    def summary_rows(self) -> list[tuple[str, str]]:
        """Name and value of everything worth showing in the summary box."""
        return [
            ("model", f"{self.name} ({self.kind})"),
            ("iteration", str(self.iteration)),
            ("resolution", str(self.resolution)),
            ("face type", self.face_type),
            *self.options_in_force.rows(),
            ("computes in", self.precision.describe()),
        ]
