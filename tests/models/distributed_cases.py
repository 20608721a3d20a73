"""Run by test_distributed.py in a process of its own: a model on one device, and on two with half the batch.

Prints, for every case named on the command line, a JSON line of what differs between the two.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import keras
import numpy as np
import tensorflow as tf

from core.nn import devices
from core.nn.distribution import SINGLE, choose_distribution
from core.nn.layers import LEAKY, Conv
from core.nn.losses import sigmoid_cross_entropy, squared_error
from core.nn.precision import POLICIES, Precision
from models.base import ModelOptions
from models.network import MAIN, NetworkModel, StepLosses
from models.recipes import Plan, Recipe

TWO = choose_distribution(devices.prepare(cpu_only=True, virtual_cpus=2))
SIDE, BATCH, STEPS = 16, 6, 5
VGG16_FILE = "drawn.weights.h5"  # of random weights, in the folder that the process runs in
# A large eps, since without it the sign of a gradient that is all rounding decides a weight's first steps.
BASE = Recipe(
    "rmsprop", 0.0, 0.9, 1e-2, bias_correction=False, unwarped_every=0, dfl_warp=False, primes=False,
    plan=lambda iteration: Plan(rate=1e-2),
)  # fmt: skip
HALF = {"precision": "float16"}


class Toy(NetworkModel):
    """A decoder for each person, and a discriminator of the source's faces."""

    kind, options_class = "Toy", ModelOptions
    OPTIONAL_PARTS = ("dis",)
    part_names = ("encoder", "decoder_src", "decoder_dst", "dis")
    recipe = BASE
    steps_apart = False
    resolution, face_type = SIDE, "full_face"

    def build_part(self, name: str, policy: str) -> keras.Model:
        depth = 8 if name.startswith("decoder") else 3
        image = keras.Input((SIDE, SIDE, depth), name="image")
        x = Conv(16, 3, 1, LEAKY, seed=f"1/{name}", name="wide", dtype=policy)(image)
        depth = {"encoder": 8, "dis": 1}.get(name, 3)
        out = Conv(depth, 3, 1, None, seed=f"1/{name}", name="out", dtype=policy)(x)
        return keras.Model(image, out, name=name)

    def losses(self, tensors) -> StepLosses:
        shown = tf.cast(self.parts["encoder"](tensors["warped_src"]), tf.float32)
        faces = {side: tf.cast(self.parts[f"decoder_{side}"](shown), tf.float32) for side in self.sides}
        lost = {side: squared_error(faces[side], tensors[f"target_{side}"]) for side in self.sides}
        real = self.parts["dis"](tensors["target_src"])
        fooled = self.parts["dis"](faces["src"])
        fake = self.parts["dis"](tf.stop_gradient(faces["src"]))
        judged = sigmoid_cross_entropy(1.0, real) + sigmoid_cross_entropy(0.0, fake)
        main = lost["src"] + lost["dst"] + 0.1 * sigmoid_cross_entropy(1.0, fooled)
        return StepLosses(lost, {MAIN: main, "dis": judged})

    def batch_names(self) -> list[str]:
        return ["warped_src", "target_src", "target_dst"]

    def swap_graph(self, parts, faces, **how):
        raise AssertionError("it is only trained")

    def preview(self, batch):
        raise AssertionError("it is only trained")


def toy(distribution, precision="float32", xla="auto", apart=False, **recipe) -> Toy:
    model = Toy.__new__(Toy)
    model.recipe, model.steps_apart = replace(BASE, **recipe), apart
    options = ModelOptions(batch_size=BATCH, xla=xla)
    model.__init__("toy", options, Precision(POLICIES[precision], "asked"), distribution)
    return model


def toy_batch(iteration: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(iteration)
    batch = {name: rng.random((BATCH, SIDE, SIDE, 3), np.float32) for name in Toy.batch_names(None)}
    batch["target_src"] *= np.linspace(0.1, 1.0, BATCH, dtype=np.float32)[:, None, None, None]
    return batch


TOYS = {
    "plain": {},
    "adabelief": {"optimizer": "adabelief", "beta1": 0.9, "beta2": 0.99, "eps": 0.1},
    "adam corrected": {"optimizer": "adam", "beta1": 0.9, "beta2": 0.99, "bias_correction": True},
    "clipped": {"clipnorm": 0.01},
    "clipped sum": {"clipnorm": 0.05, "clips_sum": True},
    "dropout": {"plan": lambda iteration: Plan(rate=1e-2, keep=0.3)},
    "apart": {"apart": True},
    "no xla": {"xla": "off"},
    "step by xla": {"xla": "step"},
    "half": {**HALF, "plan": lambda iteration: Plan(rate=1e-4)},
    "everything": {
        "optimizer": "adabelief",
        "beta1": 0.9,
        "beta2": 0.99,
        "clipnorm": 0.01,
        "plan": lambda iteration: Plan(rate=1e-2, keep=0.3),
    },
}


def compare_toys(name: str) -> dict:
    one, two = toy(SINGLE, **TOYS[name]), toy(TWO, **TOYS[name])
    losses = [[model.train_step(toy_batch(step)) for step in range(STEPS)] for model in (one, two)]
    found = difference(one, two, losses)
    state = two.weights(), two.optimizer_state()
    again = toy(TWO, **TOYS[name])  # what was saved of two devices goes on alike on one and on two
    alone = toy(SINGLE, **TOYS[name])
    for model in (again, alone):
        model.load_weights({path: array_of(value) for path, value in state[0].items()})
        model.load_optimizer_state({path: array_of(value) for path, value in state[1].items()})
        model.restore(two.iteration, two.loss_history)
    losses = [[model.train_step(toy_batch(STEPS))] for model in (alone, again, two)]
    found["resumed"] = difference(alone, again, losses[:2])
    if model.precision.scales_loss:
        found["scales"] = [float(model._scale.scale.numpy()) for model in (one, two)]
    found["straight"] = difference(two, again, losses[1:])
    return found


def array_of(value) -> np.ndarray:
    return value if isinstance(value, np.ndarray) else value.fetch()


def difference(one: NetworkModel, two: NetworkModel, losses) -> dict:
    """Largest differences of losses, weights and slots, and between the two devices' copies."""
    first, second = ([[row[name] for name in sorted(row)] for row in rows] for rows in losses)
    weights = [{path: array_of(value) for path, value in model.weights().items()} for model in (one, two)]
    slots = [
        {path: array_of(value) for path, value in model.optimizer_state().items()} for model in (one, two)
    ]
    return {
        "losses": float(np.max(np.abs(np.subtract(first, second)))),
        "weights": max(float(np.max(np.abs(a - weights[1][path]))) for path, a in weights[0].items()),
        "slots": max(relative(a, slots[1][path]) for path, a in slots[0].items()),
        "copies": copies_differ(two),
        "finite": all(bool(np.isfinite(array).all()) for array in weights[0].values()),
    }


def relative(a: np.ndarray, b: np.ndarray) -> float:
    """Largest difference, in parts of the largest value."""
    return float(np.max(np.abs(a - b)) / max(float(np.max(np.abs(a))), 1e-12))


def copies_differ(model: NetworkModel) -> float:
    """Largest difference between a weight's copies."""
    if model.distribution.replicas == 1:
        return 0.0
    pairs = [variable.values for variable in model.variables.values()]
    return max(float(np.max(np.abs(a.numpy() - b.numpy()))) for a, b in pairs)


def overflow() -> dict:
    """Float16: a step that overflows changes no weight, and halves the scale, on all devices."""
    model = toy(TWO, **HALF)
    model.train_step(toy_batch(0))
    before = {path: array_of(value) for path, value in model.weights().items()}
    scale = float(model._scale.scale.numpy())
    spoiled = toy_batch(1)
    spoiled["target_src"][-1] = 1e9  # in the last share only
    model.train_step(spoiled)
    after = {path: array_of(value) for path, value in model.weights().items()}
    return {
        "kept": all(np.array_equal(before[path], after[path]) for path in before),
        "scales": [float(copy.numpy()) / scale for copy in model._scale.scale.values],
    }


def per_sample() -> dict:
    """The values of samples come back in order, and what is no number stays with its sample."""
    batch = {"warped_src": np.arange(BATCH * 2, dtype=np.float32).reshape(BATCH, 2)}
    batch["warped_src"][1] = np.nan

    def step(tensors, rate, frozen):
        return {
            "sum": rate * tf.reduce_sum(tensors["warped_src"], axis=1),
            "max": tensors["warped_src"][:, 1],
        }

    found = [
        chosen.compile(step, jit=False)(batch, tf.constant(2.0), frozen=("a",)) for chosen in (SINGLE, TWO)
    ]
    same = [np.array_equal(found[0][name], found[1][name], equal_nan=True) for name in ("sum", "max")]
    return {"same": same, "sum": [str(number) for number in found[1]["sum"]]}


def compare_models(kind: str, given: dict, batch: int) -> dict:
    """A kind of model as users train it, from the same weights, over two steps of the same samples."""
    import models

    if given.get("perceptual_weights"):
        keras.utils.set_random_seed(4)
        keras.applications.VGG16(include_top=False, weights=None).save_weights(VGG16_FILE)

    options = models.options_class(kind)(batch_size=batch, precision="float32", **given)
    alone = models.create_model(kind, options, training=False)
    both = models.create_model(kind, options)
    assert (alone.distribution.replicas, both.distribution.replicas) == (1, 2)
    rng = np.random.default_rng(4)
    losses = [[], []]
    for _ in range(2):
        arrays = samples(alone, rng, batch)  # of the present size: models may grow
        for model, rows in zip((alone, both), losses):
            rows.append(model.train_step(arrays))
    found = difference(alone, both, losses)
    weights = [np.concatenate([array_of(v).ravel() for v in m.weights().values()]) for m in (alone, both)]
    # a gradient that is all rounding has a step of either sign
    found["share"] = float(np.mean(np.abs(weights[0] - weights[1]) > 1e-5))
    arrays = samples(alone, rng, batch)
    found["preview"] = sorted(both.preview(arrays)) == sorted(alone.preview(arrays))
    faces = both.predictor()(arrays[f"target_{both.sides[1]}"])
    found["predicted"] = [list(array.shape) for array in faces]
    return found


def samples(model, rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    """Smooth pictures, as noise leaves gradients that are all rounding."""
    arrays = {}
    for name in model.batch_names():
        coarse = rng.random((count, 4, 4, 1 if name.endswith(("_mask", "_eyes")) else 3), np.float32)
        picture = tf.image.resize(coarse, (model.resolution, model.resolution), "bicubic").numpy()
        arrays[name] = np.clip(picture, 0.0, 1.0)
    return arrays


SMALL = {"resolution": 64, "ae_dims": 32, "e_dims": 16, "d_dims": 16, "d_mask_dims": 16}
SAEHD = {
    **SMALL, "clipgrad": True, "lr_dropout": "y", "gan_power": 0.1, "gan_patch_size": 8, "gan_dims": 4,
    "true_face_power": 0.05, "archi": "df-ud", "eyes_mouth_prio": True, "face_style_power": 0.1,
    "bg_style_power": 0.1,
}  # fmt: skip
AMP = {**SMALL, "inter_dims": 64, "clipgrad": True, "lr_dropout": "y", "gan_power": 0.1, "gan_patch_size": 8}
SEEN = {"perceptual_power": 0.1, "perceptual_weights": VGG16_FILE}
MODELS = {
    "Quick96": ("Quick96", {"recipe": "dfl"}, 2),
    "SAEHD": ("SAEHD", SAEHD, 4),
    "growing": (
        "SAEHD",
        {**SMALL, "archi": "liae-ud", "resolution": 96, "grow_from": 64, "grow_iters": 1},
        2,
    ),
    "several": ("SAEHD", {**SMALL, "archi": "df-ud", "persons": "ann,bob,cleo", **SEEN}, 2),
    "AMP": ("AMP", {**AMP, "gan_dims": 4}, 4),
    "Original": ("Original", {}, 2),
}


def main(names: list[str]) -> None:
    for name in names:
        if name in TOYS:
            found = compare_toys(name)
        elif name in MODELS:
            found = compare_models(*MODELS[name])
        else:
            found = {"overflow": overflow, "per sample": per_sample}[name]()
        print(json.dumps({"case": name, **found}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
