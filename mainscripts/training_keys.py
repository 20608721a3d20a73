"""What somebody at the terminal or at the preview can ask of a training: while it runs and when it ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from core.interact.screen import ClosedEvent, KeyEvent

if TYPE_CHECKING:
    from mainscripts.training_loop import Trainer

POLL_SECONDS = 0.2  # between looks at the keyboard


def obey_keys(trainer: Trainer) -> None:
    """Do what was asked for since the last iteration.

    Enter at the terminal saves; in the window it saves and quits, as in DFL.
    """
    commands: dict[str, Callable[[], object]] = {
        "": trainer.save_and_show,
        "s": trainer.save_and_show,
        "b": trainer.backup,
        "p": trainer.show_preview,
    }
    for line in trainer.keys.lines():
        commands.get(line.lower(), trainer.save_and_show)()
    commands |= {
        "enter": trainer.request_quit,
        "space": trainer.preview.next_picture,
        "l": trainer.preview.next_range,
    }
    for event in trainer.screen.events():
        if isinstance(event, KeyEvent):
            commands.get(event.key, lambda: None)()
        elif isinstance(event, ClosedEvent):
            trainer.console.say("The window is closed; training goes on. Ctrl-C saves and ends it.")
            trainer.save()


def look_on(trainer: Trainer) -> None:
    """After the target: answer the preview's keys until Enter."""
    shown = trainer.model.iteration
    actions: dict[str, Callable[[], object]] = {
        "space": trainer.preview.next_picture,
        "l": trainer.preview.next_range,
        "s": lambda: trainer.save_last(told=True),
        "b": trainer.copy_to_backup,
    }
    while not (trainer.screen.closed or trainer.signals.requested or trainer.keys.lines()):
        trainer.programs.poll()
        for event in trainer.screen.events(timeout=POLL_SECONDS):
            key = event.key if isinstance(event, KeyEvent) else ""
            if key == "enter":
                return
            if key == "p":
                shown += 1  # other faces
                trainer.preview.refresh(trainer.batches.get(shown))
            actions.get(key, lambda: None)()


def room_was_made(trainer: Trainer) -> bool:
    """Wait at the terminal until the user says that the last save can succeed now; False gives it up."""
    signals, keys = trainer.signals, trainer.keys
    attended = trainer.plan.view_result and not trainer.console.lost
    if not attended or signals.requested not in ("", "SIGINT"):
        return False
    trainer.console.say(f"/!\\ {trainer.failure}. Enter tries to save again; Ctrl-C gives it up.")
    before, signals.awaited = signals.received, True
    keys.lines()  # typed before
    try:
        while signals.received == before:
            if keys.lines():
                return True
            time.sleep(POLL_SECONDS)
    finally:
        signals.awaited = False
    return False
