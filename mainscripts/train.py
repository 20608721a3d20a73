"""Train a model on the aligned faces of two persons; stop and go on at any time."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mainscripts.training_arguments import (
    add_arguments,
    expand,
    in_models_order,
    people,
    persons_option,
)

if TYPE_CHECKING:
    from core.interact.prompts import Prompter
    from core.nn.cluster import Cluster
    from mainscripts.training_choice import Choice
    from mainscripts.training_console import Console
    from mainscripts.training_programs import ProgramSpec
    from models import CheckpointStore
    from models.base import Model
    from samplelib import Faceset

__all__ = ["add_arguments", "expand", "run"]

# What a missing folder is called, and the step that fills it.
FACES_OF = {
    "src": ("the folder of source faces", "step 4"),
    "dst": ("the folder of destination faces", "step 5"),
}


def run(args: argparse.Namespace) -> int:
    """Ask, load, train; see `mainscripts.training_loop.Trainer.run` for the exit code."""
    from core.interact.prompts import Prompter, get_prompter
    from core.nn.cluster import find_cluster
    from core.paths import require_writable_folder
    from core.storage import remove_leavings
    from mainscripts import training_choice as choice
    from mainscripts.training_programs import parse_programs
    from models import model_exists

    folders = people(args)
    for side, folder in folders.items():
        choice.require_faces(folder, *FACES_OF.get(side, (f"the folder of {side}'s faces", "step 4")))
    programs = parse_programs(args.execute_program)
    cluster = find_cluster(args.workers, args.worker_index)
    model_dir = require_writable_folder(args.model_dir, "the model folder")
    remove_leavings(model_dir)
    prompter = get_prompter(args)
    quiet = Prompter(interactive=False) if args.silent_start else prompter
    name = choice.choose_model(quiet, model_dir, args.model, args.force_model_name)
    is_new = not model_exists(model_dir, name, args.model)
    pairs = [*args.option, *(persons_option(folders) if is_new else ())]
    chosen = choice.choose_options(quiet if is_new else prompter, model_dir, args.model, name, pairs)
    folders = in_models_order(folders, chosen)
    if args.pretrained_model_dir is not None and chosen.is_new:
        choice.require_folder(args.pretrained_model_dir, "the folder of pretrained weights")
    cpu_only, gpus = choice.choose_devices(quiet, args.cpu_only, args.force_gpu_idxs)
    from mainscripts.training_team import lost_workers_told

    with lost_workers_told(cluster):
        return _train(args, quiet, chosen, model_dir, folders, programs, (cpu_only, gpus, cluster))


def _train(
    args: argparse.Namespace,
    prompter: Prompter,
    chosen: Choice,
    model_dir: Path,
    folders: dict[str, Path],
    programs: list[ProgramSpec],
    where: tuple[bool, list[int] | None, Cluster | None],
) -> int:
    """Everything after the questions."""
    from core.interact.screen import open_screen
    from core.system import lower_priority
    from mainscripts.training_console import Console
    from mainscripts.training_loop import FAILED, Plan, explain_memory_error
    from mainscripts.training_programs import Programs
    from mainscripts.training_team import QuietConsole, check_agreement, common_facts, trainer_class
    from models import CheckpointStore

    cluster = where[2]
    is_chief = cluster is None or cluster.is_chief
    console = Console() if is_chief else QuietConsole()
    _log_to(console)
    lower_priority()
    facesets = _open_facesets(folders, console)
    store = CheckpointStore(model_dir, chosen.name, args.model)
    if is_chief:
        store.check_writable()
    model = _make_model(args, chosen, store, where, console)
    _say_notes(console, args, chosen, model)
    prefix = model_dir / f"{chosen.name}_{args.model}"
    if is_chief:
        _summarise(console, model, prefix, facesets)
    screen = open_screen(
        "none" if args.no_preview or not is_chief else args.screen,
        f"Training {prefix.name}",
        say=console.say,
    )
    plan = Plan(
        prefix=prefix,
        target=args.target_iter or model.options.target_iter,
        view_result=prompter.interactive and cluster is None,
    )
    check_agreement(model.distribution, common_facts(model, facesets, plan.target))
    console.say(_starting_line(model, plan.target, cluster))
    try:
        trainer = trainer_class(model)(
            model, store, facesets, plan, console, screen, programs=Programs(programs, console.say)
        )
        code = trainer.run()
    except Exception as err:
        explained = explain_memory_error(err)
        if explained is None:
            raise
        raise explained from err
    if code == FAILED and trainer.failure is not None:
        raise trainer.failure
    return code


def _open_facesets(folders: dict[str, Path], console: Console) -> dict[str, Faceset]:
    from samplelib import Faceset

    facesets = {}
    for side, path in folders.items():
        facesets[side] = Faceset.open(path, progress=_scan_progress(console, side))
        console.say(f"{side}: {len(facesets[side])} faces of {path}")
    return facesets


def _scan_progress(console: Console, side: str) -> Callable[[int, int], None]:
    """Tells how far the scan of a large faceset is, every 5,000 faces."""
    told = 0

    def progress(done: int, total: int) -> None:
        nonlocal told
        if done // 5000 > told:
            told = done // 5000
            console.say(f"{side}: {done} of {total} faces read")

    return progress


def _make_model(
    args: argparse.Namespace,
    chosen: Choice,
    store: CheckpointStore,
    where: tuple[bool, list[int] | None, Cluster | None],
    console: Console,
) -> Model:
    """A new model (with pretrained weights where asked for) or the saved one; loads TensorFlow."""
    from core.nn import devices

    if where[2] is not None:
        console.say(f"Waiting for all of the workers {', '.join(where[2].workers)}.")
    in_use = devices.prepare(*where)
    import models
    from core.nn.distribution import choose_distribution
    from mainscripts.training_start import load_pretrained, machine_name, settled_precision
    from mainscripts.training_team import check_agreement

    options = {name: str(value) for name, value in chosen.options.to_json().items()}
    facts = {"whether the model is new": str(chosen.is_new), **options}
    check_agreement(choose_distribution(in_use), facts)  # machines that build different models would hang

    if chosen.is_new:
        model = models.create_model(args.model, chosen.options, chosen.name)
        if args.pretrained_model_dir is not None:
            load_pretrained(model, args.pretrained_model_dir)
    else:
        precision = settled_precision(store, chosen.options, in_use)
        model = models.load_model(
            store.model_dir, chosen.name, args.model, precision=precision, options=chosen.options
        )
    model.extra_state = {
        **model.extra_state,
        "computes_in": model.precision.compute,
        "machine": machine_name(in_use),
    }
    return model


def _say_notes(console: Console, args: argparse.Namespace, chosen: Choice, model: Model) -> None:
    for note in (*chosen.notes, *model.notes):
        console.say(note)
    if args.pretrained_model_dir is not None and not chosen.is_new:
        console.say(f"--pretrained-model-dir is for new models; {chosen.name} goes on from its own weights.")
    if args.pretraining_data_dir is not None:
        console.say(f"--pretraining-data-dir is not used: {args.model} has no pretraining.")


def _summarise(console: Console, model: Model, prefix: Path, facesets: dict[str, Faceset]) -> None:
    from core.nn import devices
    from core.storage import write_bytes
    from mainscripts.training_summary import summary_box

    rows = model.summary_rows()
    options = dict(model.options.rows())
    box = summary_box(
        [
            ("Model Summary", [row for row in rows if row[0] not in options]),
            ("Model Options", list(options.items())),
            ("Faces", [(side, str(len(faceset))) for side, faceset in facesets.items()]),
            ("Running On", [("device", devices.prepare().describe())]),
        ]
    )
    console.say(box)
    try:
        write_bytes(prefix.with_name(f"{prefix.name}_summary.txt"), (box + "\n").encode())
    except OSError as err:
        console.say(f"{prefix.name}_summary.txt cannot be written: {err.strerror}")


def _starting_line(model: Model, target: int, cluster: Cluster | None) -> str:
    if cluster is not None and not cluster.is_chief:
        return (
            f"Worker {cluster.index} trains along from iteration {model.iteration}; worker 0 saves and "
            "shows. Ctrl-C, anywhere, saves and ends all."
        )
    if model.iteration == 0:
        first = "First iteration: if the program ends here, batch_size is too large for the memory. "
    else:
        first = f"Going on from iteration {model.iteration}. "
    until = f"Training to iteration {target}. " if target else ""
    return f"{first}{until}Enter saves, Ctrl-C saves and ends."


def _log_to(console: Console) -> None:
    """Warnings of the libraries go through the console, which keeps the status line whole."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            console.say(record.getMessage())

    logging.getLogger().handlers = [Handler(logging.WARNING)]  # of an earlier run in the same process, too
