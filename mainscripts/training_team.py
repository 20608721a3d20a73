"""One training by several machines: the chief saves and shows, the others compute along.

All of them run the same loop over the same batches, of which each computes its share, so what follows from
the losses (a collapse, the target) happens to all at once. The rest is agreed on before every iteration: to
stop, because somebody pressed Ctrl-C somewhere; to go back to a save, because the chief could not save; to
take the chief's weights over, after a save, so that what little the machines' arithmetic may differ by does
not add up.
"""

from __future__ import annotations

import contextlib
import re
import zlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from core.errors import SwapError
from core.nn.cluster import Cluster
from mainscripts.training_console import Console
from mainscripts.training_loop import Trainer
from models.tensor_file import fetched

if TYPE_CHECKING:
    from core.nn.distribution import Distribution
    from models.base import Model
    from samplelib import Faceset

GO_ON, QUIT, STOP = 0, 1, 2  # why a process wants to end


class QuietConsole(Console):
    """Without a status line: that of the chief is enough."""

    def status(self, prefix: str, brackets: str) -> None:
        pass


class _Nothing:
    """Takes every call, in place of what only the chief keeps."""

    def __getattr__(self, name: str):
        return lambda *args, **kwargs: ()


class TeamTrainer(Trainer):
    """What every machine of a team does."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.distribution: Distribution = self.model.distribution
        self._unsound = ""  # why the chief could not save
        self._to_share = True  # at the start: machines may have primed a little differently

    def _is_over(self) -> bool:
        """Decided by all together; a signal that comes a moment later counts the next time."""
        own = STOP if self.signals.requested or self.console.lost else QUIT if self.quit else GO_ON
        said = self.distribution.exchange([own, float(bool(self._unsound)), float(self._to_share)])
        wishes = [int(row[0]) for row in said]
        if STOP in wishes:
            self.signals.requested = self.signals.requested or f"worker {wishes.index(STOP)}"
        self.quit = self.quit or QUIT in wishes
        if said[0, 1]:
            why, self._unsound = self._unsound or "the weights are not numbers any more", ""
            self._roll_back(why)
        elif said[0, 2]:
            self.model.share()
        self._to_share = False
        return max(wishes) > GO_ON or self._at_target()

    def _end(self) -> int:
        """The chief's exit code, once it has saved."""
        code = super()._end()
        return int(self.distribution.exchange([code, 0.0, 0.0])[0, 0])


class Leader(TeamTrainer):
    """The chief: a trainer who tells the others when to go back."""

    _saving = False

    def save(self) -> bool:
        self._saving = True
        try:
            saved = super().save()
        finally:
            self._saving = False
        self._to_share = self._to_share or saved
        return saved

    def _roll_back(self, why: str) -> None:
        if self._saving:  # the others know nothing of this save
            self._unsound = why
            return
        try:
            super()._roll_back(why)
        except Exception:
            self.distribution.exchange([0.0, 0.0, 0.0])
            raise
        self.distribution.exchange([1.0, self.model.iteration, self.attempt])
        self.model.share()


class Follower(TeamTrainer):
    """Any other machine: it keeps nothing and shows nothing."""

    def _open_history(self) -> _Nothing:
        return _Nothing()

    def _open_preview(self) -> _Nothing:
        return _Nothing()

    def _choose_history(self) -> None:
        pass

    def show_preview(self) -> None:
        pass

    def _after_iteration(self) -> None:
        self.programs.poll()

    def save(self) -> bool:
        return True

    def save_last(self, told: bool = False) -> bool:
        return True

    def _rescue(self) -> None:
        pass

    def _roll_back(self, why: str) -> None:
        """Take over what the chief went back to."""
        self.console.say(f"/!\\ Iteration {self.model.iteration}: {why}; waiting for worker 0.")
        found, iteration, attempt = (int(number) for number in self.distribution.exchange([0.0] * 3)[0])
        if not found:
            raise SwapError("worker 0 cannot go back to a save; see its messages")
        self.model.restore(iteration, self.model.loss_history[:iteration])
        self.model.share()
        self.attempt = attempt
        self._resume()
        self.console.say(f"Going on from iteration {iteration}, as worker 0 does.")


def trainer_class(model: Model) -> type[Trainer]:
    """Which trainer this process needs."""
    distribution: Distribution = model.distribution
    if distribution.workers == 1:
        return Trainer
    return Leader if distribution.is_chief else Follower


def common_facts(model: Model, facesets: Mapping[str, Faceset], target: int) -> dict[str, str]:
    """What all machines must agree on, by what to call it."""
    arrays = {**model.weights(), **model.optimizer_state()}
    state = 0
    for name in sorted(arrays):
        state = zlib.crc32(fetched(arrays[name]).tobytes(), zlib.crc32(name.encode(), state))
    return {
        "the iteration": str(model.iteration),
        "the saved weights": str(state),
        "the losses so far": str(zlib.crc32(model.loss_history.tobytes())),
        "--target-iter": str(target),
        **{
            f"the faces of {side}": "\n".join(f"{sample.name} {sample.length}" for sample in faceset.samples)
            for side, faceset in facesets.items()
        },
    }


def check_agreement(distribution: Distribution, facts: Mapping[str, str]) -> None:
    """Compare facts with those of the other machines.

    Args:
        facts: What is compared, by name; the names are compared, too.

    Raises:
        SwapError: Somebody's differ from the chief's; every machine raises it.
    """
    if distribution.workers == 1:
        return
    kinds = _compare(distribution, {"the kind of model or the version of this program": ",".join(facts)})
    unlike = kinds or _compare(distribution, facts)
    if unlike:
        worst = min(unlike)
        shown = ", ".join(unlike[worst][:5]) + (" and more" if len(unlike[worst]) > 5 else "")
        raise SwapError(
            f"worker {worst} differs from worker 0 in {shown}; start all workers with the same options, "
            "flags, faces and saved model"
        )


def _compare(distribution: Distribution, facts: Mapping[str, str]) -> dict[int, list[str]]:
    """Names of the facts that differ from the chief's, by worker."""
    digests = [zlib.crc32(text.encode()) for text in facts.values()]
    said = distribution.exchange([part for digest in digests for part in divmod(digest, 1 << 16)])
    said = said.reshape(distribution.workers, len(facts), 2)  # 16 bits are exact in float32
    names = list(facts)
    differing = {
        worker: [names[number] for number in range(len(names)) if (row[number] != said[0, number]).any()]
        for worker, row in enumerate(said)
    }
    return {worker: found for worker, found in differing.items() if found}


@contextlib.contextmanager
def lost_workers_told(cluster: Cluster | None) -> Iterator[None]:
    """Within a team: turn TensorFlow's error about a machine that is gone into one line.

    Raises:
        SwapError: In place of TensorFlow's errors.
    """
    try:
        yield
    except Exception as err:
        if cluster is None:
            raise
        import tensorflow as tf

        gone = (
            tf.errors.UnavailableError,
            tf.errors.AbortedError,
            tf.errors.CancelledError,
            tf.errors.DeadlineExceededError,
        )
        if not isinstance(err, gone):
            raise
        found = re.search(r"task:(\d+)", str(err))
        number = int(found[1]) if found else None
        known = number is not None and number < len(cluster.workers) and number != cluster.index
        who = f"worker {number} ({cluster.workers[number]})" if known else "another worker"
        raise SwapError(
            f"{who} does not answer any more: it ended, or the network is down. Start all workers again; "
            "they go on from the last save"
        ) from err
