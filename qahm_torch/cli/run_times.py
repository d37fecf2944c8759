r"""How long a run has taken, by its TensorBoard events."""

from __future__ import annotations

__all__ = ["run_times"]

from pathlib import Path
from typing import Any

_LOSS, _LIKELIHOOD = "train/loss", "val/log_likelihood"


def run_times(folder: Path, updates: int) -> dict[str, Any] | None:
    r"""Returns the updates and the seconds of a run; None without events of its losses.

    The time runs from the first to the last logged update, validation and pictures included, but
    not while a run lay still before it was resumed; each validation has its own.

    Arguments:
        folder: The run folder. Each session of a run has a file of events of its own.
        updates: The number of updates of the checkpoint.
    """
    sessions = _sessions(folder, updates)
    if not sessions:
        return None
    seconds, counted, validation = 0.0, 0, []
    for session in sessions:
        logged = session[_LOSS]
        validation += [
            {
                "updates": event.step + 1,
                "seconds": seconds + event.wall_time - logged[0].wall_time,
                "nats": event.value,
            }
            for event in session[_LIKELIHOOD]
        ]
        seconds += logged[-1].wall_time - logged[0].wall_time
        counted += logged[-1].step - logged[0].step
    if counted == 0:
        return None
    return {
        "updates": updates,
        "seconds": seconds,
        "seconds_per_update": seconds / counted,
        "validation": validation,
    }


def _sessions(folder: Path, updates: int) -> list[dict[str, list[Any]]]:
    r"""Returns the events of the sessions in their order, less what was made again later."""
    files = map(_events, sorted(folder.glob("events.out.tfevents.*")))
    read = sorted((s for s in files if s[_LOSS]), key=lambda s: s[_LOSS][0].wall_time)
    kept: list[dict[str, list[Any]]] = []
    # Of the last session, updates after the checkpoint do not count.
    end: float = updates
    for session in reversed(read):
        cut = {name: [e for e in events if e.step < end] for name, events in session.items()}
        if cut[_LOSS]:
            kept.insert(0, cut)
            end = min(end, cut[_LOSS][0].step)
    return kept


def _events(file: Path) -> dict[str, list[Any]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(file), size_guidance={"scalars": 0}).Reload()
    known = events.Tags()["scalars"]
    return {name: events.Scalars(name) if name in known else [] for name in (_LOSS, _LIKELIHOOD)}
