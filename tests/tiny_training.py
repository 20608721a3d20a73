"""A training small enough to see everything it does: a model of two colours, a screen that is played back."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from mainscripts.training_history import header_for
from models import CheckpointStore
from models.base import Model, ModelOptions
from models.recipes import RECIPES

HEADER = header_for(("src", "dst"))


class TinyModel(Model):
    """Learns the mean colour of each person; `faults` maps iterations to what happens instead."""

    kind = "Tiny"
    options_class = ModelOptions
    resolution = 32
    face_type = "full_face"
    recipe = RECIPES["dfl"]

    def __init__(self, options: ModelOptions | None = None) -> None:
        precision = SimpleNamespace(compute="float32", describe=lambda: "float32")
        super().__init__("tiny", options or ModelOptions(), precision)
        self.values = {side: np.zeros(3, np.float32) for side in self.sides}
        self.momentum = {f"m/{side}": np.zeros(3, np.float32) for side in self.sides}
        self.faults = {}
        self.seen = []
        self.primed = []

    def _step(self, batch):
        losses = {}
        for side, value in self.values.items():
            error = batch[f"warped_{side}"].mean(axis=(0, 1, 2)) - value
            self.momentum[f"m/{side}"] = (
                np.float32(0.5) * self.momentum[f"m/{side}"] + np.float32(0.1) * error
            )
            self.values[side] = value + self.momentum[f"m/{side}"]
            losses[side] = float(np.abs(error).mean())
        self.seen.append((self.iteration, float(batch[f"warped_{self.sides[0]}"].sum())))
        fault = self.faults.get(self.iteration + 1)
        return fault(self, losses) if fault else losses

    def prime(self, batches):
        self.primed.append((self.iteration, sorted(batches(0))))

    def predictor(self, precision=None):
        def paint(faces):
            masks = np.ones((*faces.shape[:3], 1), np.float32)
            return np.broadcast_to(self.values[self.sides[0]], faces.shape), masks, masks

        return paint

    def preview(self, batch):
        row = np.concatenate([batch[f"target_{side}"][0] for side in self.sides], axis=1)
        return {"Tiny": row, "Tiny masked": row * 0.5}

    def weights(self):
        return {side: value.copy() for side, value in self.values.items()}

    def weight_shapes(self):
        return {side: value.shape for side, value in self.values.items()}

    def load_weights(self, values):
        self.values = {side: np.array(values[side]) for side in self.sides}

    def optimizer_state(self):
        return {name: value.copy() for name, value in self.momentum.items()}

    def load_optimizer_state(self, state):
        self.momentum = {name: np.array(state[name]) for name in self.momentum}
        return True


class FakeScreen:
    """Gives the prepared events, one list per call."""

    kind, closed = "window", False

    def __init__(self, *events):
        self.prepared, self.images = list(events), []

    def show(self, image, caption=""):
        self.images.append(image)

    def events(self, timeout=0.0):
        return self.prepared.pop(0) if self.prepared else []

    def close(self):
        self.closed = True


def csv_rows(folder):
    data = (folder / "tiny_Tiny_history.csv").read_bytes()
    assert data.startswith(HEADER)
    return [line.split(",") for line in data[len(HEADER) :].decode().splitlines()]


def saved_iteration(folder):
    return CheckpointStore(folder, "tiny", "Tiny").load_latest().iteration
