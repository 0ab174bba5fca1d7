"""The data contract at the site: checked, kept, and held against every training request.

<site>/contracts/<task>.json           the contract as it was last checked, with its digest
<site>/contracts/<task>.checked.json   the verdicts of that check, and the scanners in use then

Only `osteofed site check` changes a kept contract or its verdicts: a coordinator cannot, so it
cannot learn the site's counts by asking again and again, and a patient who comes or goes
changes no answer before a person has checked again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from operator import not_
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from client.contract.facts import assess_missing
from client.contract.own_rules import AgreedTask, own_refusals
from client.contract.rows import ContractRow
from client.contract.true_counts import warnings
from client.contract.verdicts import FOLDER, judge, standing_rows, write_kept
from client.identity.chain import site_chain
from client.store.site_store import SiteStore
from shared.audit.keys import digest_of
from shared.errors import (
    ConfigValueError,
    ContractNotMetError,
    InputMissingError,
    UnknownTaskError,
)
from shared.protocol.preparation import Preparation, digests_of, networks_of
from shared.settings.base import Settings
from shared.settings.contract import DataContract
from shared.settings.files import FederationConfig, TaskRun, load_settings, resolve
from shared.settings.task import TaskSettings
from shared.tasks import task_class, task_name
from shared.training.initial_weights import load_preparing


class KeptContract(Settings):
    """A contract that the site's engineer checked, and where it came from.

    `prepared_with` are the digests of the versions by which the agreement has the task's input
    prepared, by task, and `prepared_networks` those of their task and network settings; an
    earlier version kept none of these.
    """

    task: str
    federation: str
    kept: str
    digest: str
    contract: DataContract
    prepared_with: dict[str, str] = Field(default_factory=dict, exclude_if=not_)
    prepared_networks: dict[str, str] = Field(default_factory=dict, exclude_if=not_)

    def is_whole(self) -> bool:
        """Whether the contract is the one that was kept."""
        found = contract_digest(self.contract, self.prepared_with, self.prepared_networks)
        return self.digest == found

    def is_outdated(self) -> bool:
        """Whether an earlier version kept it, without all that must be agreed on today."""
        return set(self.prepared_with) != set(self.prepared_networks)


@dataclass(frozen=True)
class CheckedContract:
    """A contract held against a site's data.

    `own_refusals` are sentences about the site's own settings (`client.contract.own_rules`),
    `warnings` those about declared numbers (`client.contract.true_counts`); only `check` looks
    for them.
    """

    site: str
    kept: KeptContract
    rows: Sequence[ContractRow]
    own_refusals: Sequence[str] = ()
    warnings: Sequence[str] = ()

    @property
    def failed(self) -> list[str]:
        """Names of the requirements that keep the site from training."""
        return [row.requirement for row in self.rows if row.fails]

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON: with the site's own figures, not to be sent out."""
        return {
            "site": self.site,
            "task": self.kept.task,
            "federation": self.kept.federation,
            "contract": self.kept.digest,
            **({"prepared_with": self.kept.prepared_with} if self.kept.prepared_with else {}),
            "kept": self.kept.kept,
            "met": not self.failed,
            "failed": self.failed,
            "rows": [asdict(row) for row in self.rows],
            "own_refusals": list(self.own_refusals),
            "warnings": list(self.warnings),
        }


def contract_digest(
    contract: DataContract, prepared_with: Mapping[str, str], networks: Mapping[str, str]
) -> str:
    """SHA-256 over a contract and the versions that prepare the input, 64 hexadecimal digits.

    What is empty is left out, so that what needs no version keeps the digest that it had.
    """
    named = {"prepared_with": dict(prepared_with), "prepared_networks": dict(networks)}
    return digest_of(
        contract.model_dump(mode="json") | {name: one for name, one in named.items() if one}
    )


def check(folder: Path, task: str, agreement: Path | None) -> CheckedContract:
    """Hold a task's contract against the site's data, keep it, and write it into the chain.

    Images that no ingest has assessed are assessed first.

    Parameters
    ----------
    folder : Path
        The site folder.
    task : str
        The task's name.
    agreement : Path or None
        ``federation.yaml``; None checks the contract that the site keeps.

    Raises
    ------
    StoreMissingError
        If the folder is no site.
    UnknownTaskError
        If there is no such task, or the agreement does not name it.
    InputMissingError
        If no contract of the task is kept and no agreement is given.
    ConfigError, ConfigValueError
        If the agreement cannot be read, or gives a task two contracts.
    VersionMissingError, ModelIncompatibleError
        If weights that the agreement prepares the input with are not there or not of their task.
    ContractNotMetError
        If what the site keeps is not what it kept.
    """
    task_name(task)  # an unknown task is said before anything is read
    store = SiteStore.open(folder)
    try:
        kept, agreed = _kept_here(store, task) if agreement is None else _agreed(task, agreement)
        assess_missing(store)
        refusals = own_refusals(store, agreed)
        if kept.is_outdated():
            refusals.append(_outdated(task))
        told = warnings(store, task, tuple(kept.prepared_with))
        rows = judge(store, task, kept.contract, kept.digest)
        checked = CheckedContract(store.config.site, kept, rows, refusals, told)
        if agreement is not None:
            write_kept(_kept_path(store.folder, task), kept.model_dump_json(indent=2) + "\n")
        site_chain(store.folder, store.config.site).append(
            "contract checked",
            task=task,
            federation=kept.federation,
            contract=kept.digest,
            met=not checked.failed,
            failed=checked.failed,
        )
        return checked
    finally:
        store.close()


def permit_contract(store: SiteStore, task: str) -> None:
    """Refuse to train a task whose data contract the site did not meet when it was checked.

    The verdicts are those of the last `site check`, whatever has come into the store since.
    Only what follows from no patient is judged anew: phantom scans, ``scanners`` of site.yaml,
    and how old a cross-calibration has become.

    Parameters
    ----------
    store : SiteStore
        The open store.
    task : str
        A task that the site's policy names.

    Raises
    ------
    ContractNotMetError
        Naming the requirements, and no figure of the site.
    """
    kept = kept_contract(store.folder, task)
    if kept is None:
        if store.config.policy.require_contract:
            raise ContractNotMetError(
                f"this hospital trains task {task} only once its data contract is checked there "
                "(site.yaml: policy.require_contract); its engineer runs `osteofed site check`"
            )
        return
    rows = standing_rows(store, task, kept.contract, kept.digest)
    checked = CheckedContract(store.config.site, kept, rows)
    if checked.failed:
        raise not_met(checked)


def permit_preparation(
    store: SiteStore, task: str, preparations: Mapping[str, Preparation]
) -> None:
    """Refuse to prepare a task's input otherwise than the contract says that the site keeps.

    Weights alone do not say what is found: their network reads images of whatever size the
    settings name, and each size is found anew.

    Parameters
    ----------
    store : SiteStore
        The open store.
    task : str
        The task that is asked for.
    preparations : mapping of str to Preparation
        The versions that are to prepare its input, by task.

    Raises
    ------
    ContractNotMetError
        Naming both.
    """
    kept = kept_contract(store.folder, task)
    agreed = {} if kept is None else kept.prepared_with
    asked = digests_of(preparations)
    if agreed != asked:
        raise ContractNotMetError(
            f"the request has the input of {task} prepared with {_versions(asked)}, and "
            f"the contract that the hospital keeps says {_versions(agreed)}; its "
            "engineer checks the agreement anew with `osteofed site check --agreement`"
        )
    if kept is not None and kept.is_outdated():
        raise ContractNotMetError(_outdated(task))
    if kept is not None and kept.prepared_networks != networks_of(preparations):
        raise ContractNotMetError(
            f"the request has the input of {task} prepared with {_versions(asked)} under other "
            "network settings than the contract that the hospital keeps says; its engineer "
            "checks the agreement anew with `osteofed site check --agreement`"
        )


def _outdated(task: str) -> str:
    return (
        f"the contract that the hospital keeps for task {task} is of an earlier version, which "
        "did not keep the network settings of what prepares the input; its engineer checks the "
        "agreement anew with `osteofed site check --agreement`"
    )


def _versions(prepared_with: Mapping[str, str]) -> str:
    """Name versions as a sentence does."""
    named = [f"{task} {digest[:12]}…" for task, digest in sorted(prepared_with.items())]
    return " and ".join(named) or "no version of another task"


def not_met(checked: CheckedContract) -> ContractNotMetError:
    """Say that a contract is not met, in a sentence that may leave the hospital."""
    return ContractNotMetError(
        f"the hospital's data do not meet what the consortium requires for task "
        f"{checked.kept.task}: {', '.join(checked.failed)}; its engineer sees what to do with "
        "`osteofed site check`"
    )


def kept_contract(folder: Path, task: str) -> KeptContract | None:
    """Read the contract that a site keeps for a task; None if it keeps none.

    Raises
    ------
    ContractNotMetError
        If it is damaged or was edited: it is not guessed what was agreed.
    """
    try:
        text = _kept_path(folder, task).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    with contextlib.suppress(ValidationError):
        kept = KeptContract.model_validate_json(text)
        if kept.is_whole() and kept.task == task:
            return kept
    raise ContractNotMetError(
        f"the contract that the hospital keeps for task {task} is not as it was kept; its "
        "engineer checks it anew with `osteofed site check --agreement`"
    )


def versions_named(folder: Path) -> frozenset[tuple[str, str]]:
    """Give task and digest of every version that a contract kept at a site names.

    A contract that is not as it was kept names none.
    """
    names: set[tuple[str, str]] = set()
    for path in sorted((folder / FOLDER).glob("*.json")):
        with contextlib.suppress(ContractNotMetError):
            kept = kept_contract(folder, path.stem)
            names |= set(kept.prepared_with.items()) if kept is not None else set()
    return frozenset(names)


def _kept_here(store: SiteStore, task: str) -> tuple[KeptContract, AgreedTask]:
    """Give the contract that the site keeps; how the agreement trains the task is not in it."""
    kept = kept_contract(store.folder, task)
    if kept is None:
        raise InputMissingError(
            f"{store.folder / FOLDER}: no contract of task {task!r} is kept there; give "
            "the consortium's with --agreement federation.yaml"
        )
    return kept, AgreedTask(TaskSettings(task=task), None, None, kept.prepared_with)


def _agreed(task: str, path: Path) -> tuple[KeptContract, AgreedTask]:
    """Read a task's contract, and how it is trained, from federation.yaml."""
    config = load_settings(path, FederationConfig)
    kept = _from_agreement(task, path, config)
    return kept, _training(kept, path, config)


def _from_agreement(task: str, path: Path, config: FederationConfig) -> KeptContract:
    """Find a task's contract in what federation.yaml says."""
    names = [_task_name(path, run) for run in config.tasks]
    found = [
        (run.contract or task_class(task).contract, run.prepare_with)
        for name, run in zip(names, config.tasks, strict=True)
        if name == task
    ]
    if not found:
        raise UnknownTaskError(
            f"{path}: tasks: does not name {task!r} (it names {', '.join(sorted(set(names)))})"
        )
    if any(one != found[0] for one in found):
        raise ConfigValueError(
            f"{path}: tasks: gives {task!r} two different contracts (must be one and the same)"
        )
    contract, preparing = found[0]
    versions = {
        name: load_preparing(resolve(path.parent, file), name)[0]
        for name, file in sorted(preparing.items())
    }
    prepared_with, networks = digests_of(versions), networks_of(versions)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return KeptContract(
        task=task,
        federation=config.name,
        kept=now,
        digest=contract_digest(contract, prepared_with, networks),
        contract=contract,
        prepared_with=prepared_with,
        prepared_networks=networks,
    )


def preparing_in(path: Path) -> dict[str, tuple[str, ...]]:
    """Tell which tasks prepare the input of each task of federation.yaml; no weights are read."""
    config = load_settings(path, FederationConfig)
    return {_task_name(path, run): tuple(run.prepare_with) for run in config.tasks}


def _training(kept: KeptContract, path: Path, config: FederationConfig) -> AgreedTask:
    """Tell how an agreement trains a task, as far as its files are here."""
    mode = config.privacy.mode
    run = next(one for one in config.tasks if _task_name(path, one) == kept.task)
    settings = resolve(path.parent, run.settings)
    if not settings.is_file():
        return AgreedTask(TaskSettings(task=kept.task), None, mode, kept.prepared_with)
    task = load_settings(settings, TaskSettings)
    training = task.private if mode == "private" else task.plain
    return AgreedTask(task, training.steps_per_round, mode, kept.prepared_with)


def _task_name(path: Path, run: TaskRun) -> str:
    """Name of a run's task; where a hospital has only the agreement, by the file's name."""
    settings = resolve(path.parent, run.settings)
    if settings.is_file():
        return load_settings(settings, TaskSettings).task
    return run.settings.name.split(".")[0]


def _kept_path(folder: Path, task: str) -> Path:
    return folder / FOLDER / f"{task}.json"
