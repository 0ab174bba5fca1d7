"""``osteofed site declare``: the numbers of patients that may leave, proposed and written down.

Today's counts are looked at here only, when a person asks: what is proposed is a rung of
`shared.settings.declared.LADDER`, and what the person chooses stands in ``site.yaml`` and the
audit chain. Whatever leaves the hospital follows from that.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from client.contract.data_contract import kept_contract
from client.contract.site_settings_text import with_declared
from client.contract.true_counts import holds, usable_patients_here
from client.identity.chain import site_chain
from client.store.site_store import OWNERS_FILE, SETTINGS, SiteStore
from shared.errors import ConfigValueError, OsteofedError, UnknownTaskError
from shared.runtime.files import alone_with, write_text_atomically
from shared.settings.declared import PLACES, DeclaredNumbers, Place, check_rung, rung_below
from shared.settings.files import SiteConfig, load_settings

LOG: Final = logging.getLogger(__name__)
LOCK: Final = "declare.lock"
#: Versions that prepare the input of a task, by its name; only their tasks' names.
Preparing = Mapping[str, Collection[str]]
NOBODY: Final[Preparing] = {}
#: Numbers that a person chose, by task and place.
Chosen = Mapping[tuple[str, Place], int]
NOTHING_CHOSEN: Final[Chosen] = {}


@dataclass(frozen=True)
class Proposal:
    """A number that a site may declare for a task and place.

    `today` is exact and for the hospital's own eyes; `declared` is what stands in its settings,
    `number` what is proposed or was chosen (None: nobody is there).
    """

    task: str
    place: Place
    today: int
    declared: int | None
    number: int | None


def propose(
    folder: Path, preparing: Preparing = NOBODY, chosen: Chosen = NOTHING_CHOSEN
) -> list[Proposal]:
    """Count what each permitted task can use, and round it down to a rung.

    A declared number that still holds (`holds`) is proposed again: a number that changes tells
    of a patient who came.

    Parameters
    ----------
    folder : Path
        The site folder.
    preparing : mapping of str to collection of str
        Tasks whose versions prepare a task's input, as the agreement says; of a task that is
        not named, what the contract says that the site keeps.
    chosen : mapping of (str, str) to int
        Numbers that a person chose instead, by task and place.

    Raises
    ------
    StoreMissingError
        If the folder is no site.
    UnknownTaskError
        If a number is chosen for a task that the site does not permit.
    ConfigValueError
        If a chosen number is no rung.
    """
    store = SiteStore.open(folder)
    try:
        tasks = store.config.policy.tasks or ()
        for task, place in chosen:
            if task not in tasks:
                raise UnknownTaskError(
                    f"{folder}: does not take part in {task!r} (site.yaml: policy.tasks: "
                    f"{', '.join(tasks) or 'none'})"
                )
            try:
                check_rung(chosen[task, place])
            except ValueError as error:
                raise ConfigValueError(
                    f"--number {task}:{place}={chosen[task, place]} ({error})"
                ) from None
        sources = {place: store.source(place) for place in PLACES}
        counts = {
            (task, place): usable_patients_here(
                store, task, source, _preparing(store, task, preparing)
            )
            for task in tasks
            for place, source in sources.items()
        }
        return [
            _proposed(store.config, task, place, today, chosen.get((task, place)))
            for (task, place), today in counts.items()
        ]
    finally:
        store.close()


def declare(folder: Path, proposals: Collection[Proposal]) -> dict[str, DeclaredNumbers]:
    """Write the numbers that a person agreed to into ``site.yaml`` and the chain.

    The file is written whole or not at all, and its comments stay. The exact counts are
    written nowhere.

    Returns
    -------
    dict of str to DeclaredNumbers
        All that stand in the settings now, by task.

    Raises
    ------
    ConfigError, ConfigValueError
        If ``site.yaml`` cannot be read, or be written beside what stands there.
    """
    path = folder / SETTINGS
    numbers: dict[str, dict[str, int]] = {}
    for one in proposals:
        if one.number is not None:
            numbers.setdefault(one.task, {})[one.place] = one.number
    before = load_settings(path, SiteConfig)
    with alone_with((folder / before.store).resolve() / LOCK):
        before = load_settings(path, SiteConfig)
        merged = {
            task: before.declared.get(task, DeclaredNumbers()).model_copy(update=places)
            for task, places in numbers.items()
        }
        changed = {task: one for task, one in merged.items() if before.declared.get(task) != one}
        if changed:
            with path.open(encoding="utf-8", newline="") as file:
                text = file.read()
            write_text_atomically(path, with_declared(text, changed, path), mode=OWNERS_FILE)
        config = load_settings(path, SiteConfig)
        said = {task: one.model_dump(exclude_none=True) for task, one in config.declared.items()}
        chain = site_chain(folder, config.site)
        last = chain.last("declared")
        if said and (last is None or last.facts.get("numbers") != said):
            chain.append("declared", numbers=said)
    return config.declared


def declare_if_never(folder: Path, preparing: Preparing = NOBODY) -> None:
    """Declare what is proposed at a site that never declared anything; say so in the log.

    For what a person starts who answers for the site: `osteofed site join`, a simulation. A
    message never leads here. Where it cannot be done the log says why, and the site refuses.
    """
    try:
        if load_settings(folder / SETTINGS, SiteConfig).declared:
            return
        said = declare(folder, propose(folder, preparing))
    except OsteofedError as error:
        LOG.warning("no numbers of patients could be declared: %s", error)
        return
    if said:
        numbers = ", ".join(f"{task} {one.train or 0}" for task, one in sorted(said.items()))
        LOG.warning(
            "%s: had declared no numbers of patients, and declares what its store holds, rounded "
            "down: %s (change it with `osteofed site declare`)", folder, numbers,
        )  # fmt: skip


def _proposed(
    config: SiteConfig, task: str, place: Place, today: int, chosen: int | None
) -> Proposal:
    declared = config.declared.get(task, DeclaredNumbers()).of(place)
    kept = declared if declared is not None and holds(today, declared) else None
    return Proposal(task, place, today, declared, chosen or kept or rung_below(today))


def _preparing(store: SiteStore, task: str, agreed: Preparing) -> Collection[str]:
    if task in agreed:
        return agreed[task]
    kept = kept_contract(store.folder, task)
    return () if kept is None else tuple(kept.prepared_with)
