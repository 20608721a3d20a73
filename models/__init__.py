"""Models: what they are asked, how they learn a step, what they predict, and their checkpoints.

TensorFlow is loaded by `create_model` and `load_model` only.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import CheckpointError, UsageError
from models.checkpoint import Checkpoint, CheckpointStore
from models.model_files import check_model_name, delete_model, model_files, rename_model

if TYPE_CHECKING:
    from models.base import Model, ModelOptions

__all__ = [
    "MODEL_KINDS",
    "Checkpoint",
    "CheckpointStore",
    "check_model_name",
    "create_model",
    "delete_model",
    "list_models",
    "load_model",
    "model_exists",
    "model_files",
    "options_class",
    "rename_model",
    "saved_iteration",
    "saved_options",
]

_PLAIN = (bool, int, float, str)  # what an option's value can be

# Kind: module of its options, the option class, module of the graphs, the model class.
MODEL_KINDS: dict[str, tuple[str, str, str, str]] = {
    "Quick96": ("models.quick96_options", "Quick96Options", "models.quick96", "Quick96"),
    "SAEHD": ("models.saehd_options", "SaehdOptions", "models.saehd", "Saehd"),
    "AMP": ("models.amp_options", "AmpOptions", "models.amp", "Amp"),
    "Original": ("models.original_options", "OriginalOptions", "models.original", "Original"),
}
COMB = ("models.saehd_comb", "SaehdComb")  # a model whose option `persons` names several


def options_class(kind: str) -> type[ModelOptions]:
    """The option class of a model kind, without loading TensorFlow.

    Raises:
        UsageError: There is no such kind.
    """
    module, name, _, _ = _entry(kind)
    return getattr(importlib.import_module(module), name)


def list_models(model_dir: Path | str, kind: str) -> list[str]:
    """Names of the saved models of a kind, ours and DeepFaceLab's, the last saved first."""
    from models.dfl_checkpoint import list_dfl_models

    times = {name: path.stat().st_mtime for name, path in list_dfl_models(model_dir, kind).items()}
    folder, tail = Path(model_dir), f"_{kind}"
    for path in folder.iterdir() if folder.is_dir() else ():
        name = path.name.removesuffix(tail)
        if path.is_dir() and name and name != path.name and "_" not in name and not name.startswith("."):
            generations = CheckpointStore(folder, name, kind).generations()
            if generations:
                times[name] = max(times.get(name, 0.0), generations[0].stat().st_mtime)
    return sorted(times, key=lambda name: (-times[name], name))


def model_exists(model_dir: Path | str, name: str, kind: str) -> bool:
    """Whether a model of this name was saved, by us or by DeepFaceLab."""
    from models.dfl_checkpoint import dfl_model_exists

    return CheckpointStore(model_dir, name, kind).exists() or dfl_model_exists(model_dir, name, kind)


def saved_options(model_dir: Path | str, name: str, kind: str) -> ModelOptions:
    """The options of a saved model, read without its weights: the defaults of the prompts.

    Raises:
        CheckpointError: There is no such model, it is damaged, or a saved value is out of range.
    """
    from models.dfl_checkpoint import dfl_prefix, read_dfl_state

    store = CheckpointStore(model_dir, name, kind)
    if store.exists():
        return _checked_options(kind, store.read_options(), store.folder)[0]
    saved = read_dfl_state(model_dir, name, kind)["options"]
    return _dfl_options(kind, saved, dfl_prefix(model_dir, name, kind))[0]


def saved_iteration(model_dir: Path | str, name: str, kind: str) -> int:
    """How far a saved model is, read without its weights; see `saved_options`."""
    from models.dfl_checkpoint import read_dfl_state

    store = CheckpointStore(model_dir, name, kind)
    return store.read_iteration() if store.exists() else read_dfl_state(model_dir, name, kind)["iteration"]


def create_model(
    kind: str,
    options: ModelOptions | None = None,
    name: str = "new",
    precision: str | None = None,
    training: bool = True,
) -> Model:
    """A model with fresh weights, drawn from `options.seed`.

    Args:
        precision: Overrides the option of this name.
        training: Use all devices that were chosen; else, to merge with, the first.

    Raises:
        UsageError: There is no such kind, or the devices cannot share the batch equally.
    """
    _, _, module, class_name = _entry(kind)
    options = options or options_class(kind)()
    if getattr(options, "persons", ""):
        module, class_name = COMB

    from core.nn import devices

    in_use = devices.prepare()

    from core.nn.distribution import SINGLE, choose_distribution
    from core.nn.precision import agreed, choose

    distribution = choose_distribution(in_use) if training else SINGLE
    if training:
        distribution.check_batch(options.batch_size)
    chosen = agreed(choose(precision or options.precision, in_use), distribution)
    model_class = getattr(importlib.import_module(module), class_name)
    model = model_class(name, options, chosen, distribution)
    if options.xla == "step" and distribution.replicas > 1:
        model.notes.append("xla=step is for one device; of several, XLA compiles the update alone")
    return model


def load_model(
    model_dir: Path | str,
    name: str,
    kind: str,
    precision: str | None = None,
    options: ModelOptions | Callable[[ModelOptions], ModelOptions] | None = None,
    training: bool = True,
) -> Model:
    """The model that was saved last under a name, by us or (where we saved none) by DeepFaceLab.

    Args:
        precision: Overrides the option of this name: `auto`, `float32`, `bfloat16` or `float16`.
        options: Replaces the saved options, or maps them to those to use; a change of recipe keeps the
            weights.
        training: Load the optimizer's state, too; a model to merge with needs none.

    Returns:
        The model; `model.notes` holds what the user should be told, `model.extra_state` what the trainer
        saved.

    Raises:
        CheckpointError: It does not exist, is damaged, or its weights are not exactly those of the kind.
    """
    store = CheckpointStore(model_dir, name, kind)
    if store.exists():
        saved = store.load_latest(training)
        used, unknown = _checked_options(kind, saved.options, saved.source)
        model = create_model(kind, _settled(used, options), name, precision, training)
        model.notes += _overtaken(store, saved)
    else:
        model, saved, used, unknown = _load_dfl(model_dir, name, kind, precision, options, training)
    model.notes += saved.notes
    if unknown:
        model.notes.append(f"options that this version does not know are kept: {', '.join(unknown)}")
    model.unknown_options, model.extra_state = unknown, saved.extra
    model.restore(saved.iteration, saved.loss_history)  # first: networks may be of the iteration's size
    try:
        model.load_weights(saved.weights)
        saved.weights = {}  # gigabytes, perhaps, that the slots need now
        if saved.optimizer and not model.load_optimizer_state(saved.optimizer):
            model.notes.append("the optimizer starts anew: its saved state is another recipe's")
    except CheckpointError as err:
        raise CheckpointError(f"{saved.source}: {err}") from err
    model.options_changed(used)
    return model


def _overtaken(store: CheckpointStore, saved: Checkpoint) -> list[str]:
    """A note where DeepFaceLab went on with its own files of the model after it was saved here."""
    from models.dfl_checkpoint import read_dfl_state
    from models.dfl_layout import DATA, dfl_prefix, file_of

    path = file_of(dfl_prefix(store.model_dir, store.name, store.kind), DATA)
    try:
        if not path.is_file() or path.stat().st_mtime <= saved.source.stat().st_mtime:
            return []
        iteration = read_dfl_state(store.model_dir, store.name, store.kind)["iteration"]
    except (OSError, CheckpointError):  # nothing of it is needed here
        return []
    if iteration <= saved.iteration:  # its time may be that of a copy
        return []
    return [
        f"{path.name} is newer, of iteration {iteration}; what is loaded is {store.folder.name} of iteration "
        f"{saved.iteration}; to take over what DeepFaceLab learnt, move the folder {store.folder.name} away"
    ]


def _load_dfl(
    model_dir, name, kind, precision, options, training
) -> tuple[Model, Checkpoint, ModelOptions, dict]:
    from models.dfl_checkpoint import dfl_model_exists, dfl_prefix, load_dfl_checkpoint, read_dfl_state

    if not dfl_model_exists(model_dir, name, kind):
        there = list_models(model_dir, kind)
        known = f"; saved there: {', '.join(there)}" if there else "; no model of this kind is saved there"
        raise CheckpointError(f"{model_dir}: no {kind} model named {name!r}{known}")
    saved = read_dfl_state(model_dir, name, kind)["options"]
    used, unknown, notes = _dfl_options(kind, saved, dfl_prefix(model_dir, name, kind))
    model = create_model(kind, _settled(used, options), name, precision, training)
    model.notes += notes
    return model, load_dfl_checkpoint(model_dir, name, kind, model.weight_shapes(), training), used, unknown


def _dfl_options(kind: str, saved: dict, source: Path) -> tuple[ModelOptions, dict, list[str]]:
    """DFL's options as ours, those that only DFL has (kept for an export), and notes."""
    from models.dfl_options import adopted

    values, notes = adopted(saved, options_class(kind).specs())
    options, unknown = _checked_options(kind, values, source)
    return options, {key: value for key, value in unknown.items() if type(value) in _PLAIN}, notes


def _checked_options(kind: str, saved: dict, source: Path) -> tuple[ModelOptions, dict]:
    try:
        return options_class(kind).from_json(saved)
    except UsageError as err:
        raise CheckpointError(f"{source}: saved {err}") from err


def _settled(saved: ModelOptions, wanted) -> ModelOptions:
    return wanted(saved) if callable(wanted) else wanted or saved


def _entry(kind: str) -> tuple[str, str, str, str]:
    if kind not in MODEL_KINDS:
        raise UsageError(f"there is no model {kind!r}; known are {', '.join(MODEL_KINDS)}")
    return MODEL_KINDS[kind]
