"""Train a model on the aligned faces of two persons; stop and go on at any time."""

from __future__ import annotations

import argparse
import logging
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from mainscripts.training_arguments import (
    add_arguments,
    expand,
    in_models_order,
    people,
    persons_option,
    with_joining,
)
from mainscripts.training_faces import folders_to_read, open_facesets, require_folders

if TYPE_CHECKING:
    from core.interact.prompts import Prompter
    from core.nn.cluster import Cluster
    from mainscripts.training_choice import Choice
    from mainscripts.training_console import Console
    from mainscripts.training_loop import Trainer
    from mainscripts.training_programs import ProgramSpec
    from mainscripts.training_saves import Plan
    from models import CheckpointStore
    from models.base import Model, ModelOptions
    from samplelib import Faceset

__all__ = ["add_arguments", "expand", "run"]

HISTORY_HELP = "Look through the samples before the training begins: p shows others, Enter takes them."


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
    if args.pretraining_data_dir is None:  # else it depends on the options whose faces are read
        require_folders(folders)
    programs = parse_programs(args.execute_program)
    cluster = find_cluster(args.workers, args.worker_index)
    model_dir = require_writable_folder(args.model_dir, "the model folder")
    remove_leavings(model_dir)
    prompter = get_prompter(args)
    quiet = Prompter(interactive=False) if args.silent_start else prompter
    name = choice.choose_model(quiet, model_dir, args.model, args.force_model_name)
    is_new = not model_exists(model_dir, name, args.model)
    pairs = [*args.option, *(persons_option(folders) if is_new else ())]
    room = choice.gpu_memory(args.cpu_only, args.force_gpu_idxs)
    chosen = choice.choose_options(quiet if is_new else prompter, model_dir, args.model, name, pairs, room)
    chosen = with_joining(folders, chosen)
    folders = folders_to_read(chosen.options, in_models_order(folders, chosen), args.pretraining_data_dir)
    unseen = not quiet.interactive or not _can_show(args)  # else the result stays to be looked at
    if unseen and cluster is None and _nothing_to_train(args, chosen, model_dir):
        return 0
    choose_history = _ask_for_history(quiet, args, chosen)
    if args.pretrained_model_dir is not None and chosen.is_new:
        choice.require_folder(args.pretrained_model_dir, "the folder of pretrained weights")
    cpu_only, gpus = choice.choose_devices(quiet, args.cpu_only, args.force_gpu_idxs)
    from mainscripts.training_team import lost_workers_told

    with lost_workers_told(cluster):
        where = (cpu_only, gpus, cluster)
        return _train(args, quiet, chosen, model_dir, folders, programs, where, choose_history)


def _nothing_to_train(args: argparse.Namespace, chosen: Choice, model_dir: Path) -> bool:
    """Whether a model is at its target already, with no other option to save; then says so."""
    from models import saved_iteration

    target = args.target_iter or chosen.options.target_iter
    if not target or chosen.is_changed:  # changes are the model's own business, such as a new discriminator
        return False
    iteration = saved_iteration(model_dir, chosen.name, args.model)
    if iteration >= target:
        print(f"Reached the target iteration {target}: {chosen.name} is at iteration {iteration} already.")
    return iteration >= target


def _ask_for_history(prompter: Prompter, args: argparse.Namespace, chosen: Choice) -> bool:
    """Whether the user wants to choose the faces of the preview history, where there will be a screen."""
    wanted = chosen.asked and chosen.options.write_preview_history
    if not (wanted and prompter.interactive and _can_show(args)):
        return False
    return prompter.ask_bool("Choose image for the preview history", False, help=HISTORY_HELP)


def _can_show(args: argparse.Namespace) -> bool:
    """Whether there will be a screen."""
    from core.interact.screen import has_display

    kind = "none" if args.no_preview else args.screen
    return kind in ("window", "browser") or (kind == "auto" and has_display())


def _train(
    args: argparse.Namespace,
    prompter: Prompter,
    chosen: Choice,
    model_dir: Path,
    folders: dict[str, Path],
    programs: list[ProgramSpec],
    where: tuple[bool, list[int] | None, Cluster | None],
    choose_history: bool,
) -> int:
    """Everything after the questions."""
    from core.system import lower_priority
    from mainscripts.training_console import Console
    from mainscripts.training_leavings import nothing_left_of_a_failed_start
    from mainscripts.training_loop import FAILED
    from mainscripts.training_memory import is_out_of_memory, no_room
    from mainscripts.training_saves import Plan
    from mainscripts.training_team import QuietConsole
    from models import CheckpointStore

    cluster = where[2]
    is_chief = cluster is None or cluster.is_chief
    console = Console() if is_chief else QuietConsole()
    _log_to(console)
    lower_priority()
    facesets = open_facesets(folders, chosen.options, console)
    store = CheckpointStore(model_dir, chosen.name, args.model)
    if is_chief:
        store.check_writable()
    plan = Plan(
        prefix=model_dir / f"{chosen.name}_{args.model}",
        target=args.target_iter or chosen.options.target_iter,
        view_result=prompter.interactive and cluster is None,
        choose_history=choose_history,
        options_changed=chosen.is_changed,
    )
    maker = _Maker(args, chosen, store, where, console)
    try:
        with ExitStack() as held:
            if is_chief:
                held.enter_context(store.reserved())
            if is_chief and chosen.is_new:
                held.enter_context(nothing_left_of_a_failed_start(store, plan.prefix))
            trainer = _make_trainer(maker, facesets, plan, programs)
            if is_chief and chosen.ends_pretraining and store.exists():
                console.say(_pretrained_kept(store))
            code = trainer.run()
    except Exception as err:
        if not is_out_of_memory(err):
            raise
        raise no_room(chosen.options) from err
    if code == FAILED and trainer.failure is not None:
        raise trainer.failure
    return code


def _pretrained_kept(store: CheckpointStore) -> str:
    """Keep what pretraining came to, which the first saves would replace; says where."""
    folder = store.keep_apart("pretrained")
    return f"The pretrained model is kept in {folder}; new ones begin with it by --pretrained-model-dir."


def _make_trainer(
    maker: _Maker, facesets: dict[str, Faceset], plan: Plan, programs: list[ProgramSpec]
) -> Trainer:
    """The trainer of a model that nobody else holds on to, so that it can be replaced by a smaller one."""
    from core.interact.screen import open_screen
    from mainscripts.training_programs import Programs
    from mainscripts.training_team import check_agreement, common_facts, trainer_class

    args, console, cluster = maker.args, maker.console, maker.where[2]
    is_chief = cluster is None or cluster.is_chief
    model = maker.make(maker.chosen.options)
    if cluster is None:
        smaller = _smaller_batch(model)
        if smaller < model.options.batch_size:
            console.say(
                f"/!\\ batch_size {model.options.batch_size} needs far more memory than is free; beginning "
                f"with {smaller}, which --option batch_size={smaller} also sets."
            )
            del model
            model = maker.make(maker.chosen.options.changed(batch_size=smaller))
    _say_notes(console, args, maker.chosen, model)
    if is_chief:
        _summarise(console, model, plan.prefix, facesets)
    screen = open_screen(
        "none" if args.no_preview or not is_chief else args.screen,
        f"Training {plan.prefix.name}",
        say=console.say,
    )
    check_agreement(model.distribution, common_facts(model, facesets, plan.target))
    console.say(_starting_line(model, plan.target, cluster))
    return trainer_class(model)(
        model,
        maker.store,
        facesets,
        plan,
        console,
        screen,
        programs=Programs(programs, console.say),
        rebuild=maker.make if cluster is None else None,
    )


class _Maker:
    """Makes the model of a run: a new one (with pretrained weights where asked for) or the saved one."""

    def __init__(
        self,
        args: argparse.Namespace,
        chosen: Choice,
        store: CheckpointStore,
        where: tuple[bool, list[int] | None, Cluster | None],
        console: Console,
    ) -> None:
        self.args, self.chosen, self.store, self.where, self.console = args, chosen, store, where, console
        self._precision: str | None = None  # of the first one made: a probe could choose another later

    def make(self, options: ModelOptions) -> Model:
        """The model as it stands on the disk, or fresh, with these options; loads TensorFlow."""
        from core.nn import devices

        if self.where[2] is not None:
            self.console.say(f"Waiting for all of the workers {', '.join(self.where[2].workers)}.")
        in_use = devices.prepare(*self.where)
        import models
        from core.nn.distribution import choose_distribution
        from mainscripts.training_start import load_pretrained, machine_name, settled_precision
        from mainscripts.training_team import check_agreement

        name, kind = self.chosen.name, self.args.model
        is_new = self.chosen.is_new and not self.store.exists()
        told = {key: str(value) for key, value in options.to_json().items()}
        facts = {"whether the model is new": str(is_new), **told}
        check_agreement(choose_distribution(in_use), facts)  # machines that build different models would hang
        if is_new:
            model = models.create_model(kind, options, name, self._precision)
            if self.args.pretrained_model_dir is not None:
                load_pretrained(model, self.args.pretrained_model_dir)
        else:
            precision = self._precision or settled_precision(self.store, options, in_use)
            model = models.load_model(self.store.model_dir, name, kind, precision=precision, options=options)
        self._precision = model.precision.compute
        model.extra_state = {
            **model.extra_state,
            "computes_in": model.precision.compute,
            "machine": machine_name(in_use),
        }
        model.prepare()
        return model


def _smaller_batch(model: Model) -> int:
    """The batch size that fits into the memory, where a processor computes; else the model's own."""
    from core.nn import devices
    from mainscripts.training_memory import fitting_batch, free_memory

    if devices.prepare().on_gpu:
        return model.options.batch_size
    return fitting_batch(model, free_memory(on_gpu=False))


def _say_notes(console: Console, args: argparse.Namespace, chosen: Choice, model: Model) -> None:
    for note in (*chosen.notes, *model.notes):
        console.say(note)
    if args.pretrained_model_dir is not None and not chosen.is_new:
        console.say(f"--pretrained-model-dir is for new models; {chosen.name} goes on from its own weights.")
    if args.pretraining_data_dir is not None and not hasattr(model.options, "pretrain"):
        console.say(f"--pretraining-data-dir is not used: {args.model} has no pretraining.")


def _summarise(console: Console, model: Model, prefix: Path, facesets: dict[str, Faceset]) -> None:
    from core.nn import devices
    from core.storage import write_bytes
    from mainscripts.training_memory import free_memory, memory_lines, memory_rows
    from mainscripts.training_summary import summary_box, summary_path

    in_use = devices.prepare()
    room = free_memory(in_use.on_gpu)
    rows = model.summary_rows()
    options = dict(model.options_in_force.rows())
    box = summary_box(
        [
            ("Model Summary", [row for row in rows if row[0] not in options]),
            ("Model Options", list(options.items())),
            ("Faces", [(side, str(len(faceset))) for side, faceset in facesets.items()]),
            ("Memory", memory_rows(model, room)),
            ("Running On", [("device", in_use.describe())]),
        ]
    )
    console.say(box)
    for line in memory_lines(model, room):
        console.say(line)
    path = summary_path(prefix)
    try:
        write_bytes(path, (box + "\n").encode())
    except OSError as err:
        console.say(f"{path.name} cannot be written: {err.strerror}")


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
    until = f"Training to iteration {target}. " if target > model.iteration else ""
    return f"{first}{until}Enter saves, Ctrl-C saves and ends."


def _log_to(console: Console) -> None:
    """Warnings of the libraries go through the console, which keeps the status line whole."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            console.say(record.getMessage())

    logging.getLogger().handlers = [Handler(logging.WARNING)]  # of an earlier run in the same process, too
