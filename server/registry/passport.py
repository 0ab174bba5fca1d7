"""The passport of a version: which signed updates it is the aggregate of, and nothing else.

Anyone can check it offline, with the coordinator's public key alone; with the chains of
either side and the kept updates it is checked to the bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError

from server.rounds.aggregation.aggregator import Aggregator
from server.rounds.aggregation.update_store import SpooledUpdate
from server.rounds.plan import PlannedTask, RunPlan
from server.state.home import COORDINATOR, Home
from shared.audit.chain import ChainLine, verify_chain
from shared.errors import PassportInvalidError
from shared.phrases import counted
from shared.protocol.chain_cross_check import (
    Other,
    last_head,
    released_as_signed,
    verify_site_chain,
)
from shared.protocol.half_precision import halved
from shared.protocol.passport import (
    PASSPORT,
    Passport,
    RoundPassport,
    check_passport,
    read_passport,
)
from shared.protocol.preparation import digests_of
from shared.training.weights import digest_arrays, load_weights


def make_passport(
    plan: RunPlan, planned: PlannedTask, rounds: list[RoundPassport], digest: str, start: str
) -> Passport:
    """Sign the passport of a version.

    Parameters
    ----------
    plan : RunPlan
        The run.
    planned : PlannedTask
        The task.
    rounds : list of RoundPassport
        All of them, the first first.
    digest : str
        Of the version's weights.
    start : str
        Digest of what the run began with, not rounded.
    """
    home = Home(plan.home)
    key = home.key()
    draft = Passport(
        run=plan.run, task=planned.name, digest=digest, start=rounds[0].model_before,
        start_exact=start, settings=planned.settings, strategy=planned.strategy,
        most_patients=plan.quorum.maximum_patients_per_site,
        prepared_with=digests_of(planned.prepared_with), rounds=rounds,
        coordinator=key.public, head=home.chain().head(), signature="",
    )  # fmt: skip
    return draft.model_copy(update={"signature": key.sign(PASSPORT, draft.content())})


def verify_passport(
    path: Path,
    key: str,
    *,
    weights: Path | None = None,
    chain: Path | None = None,
    sites: Mapping[str, Other] | None = None,
    updates: Path | None = None,
    start: Path | None = None,
) -> list[str]:
    """Check a passport, as far as what is given allows.

    Parameters
    ----------
    path : Path
        ``passport.json``.
    key : str
        The coordinator's public key.
    weights : Path, optional
        The version's weights.
    chain : Path, optional
        The coordinator's chain.
    sites : mapping of str to Other, optional
        Chains of sites, by name, with their public keys.
    updates, start : Path, optional
        The kept updates (``round-0001/SITE.safetensors``) and the weights that the run
        began with, not rounded: every round is aggregated again.

    Returns
    -------
    list of str
        What was checked.

    Raises
    ------
    PassportInvalidError
        Naming the first thing that does not hold.
    ChainBrokenError
        If a chain does not hold by itself.
    """
    passport = read_passport(path)
    check_passport(path, passport, key)
    checked = [
        "the coordinator's signature",
        "every site's statement",
        "the models that they are about",
        "the privacy mechanism that each site was asked for and signed",
        *not_proven_in(passport.rounds),
    ]
    if weights is not None:
        if digest_arrays(load_weights(weights).arrays) != passport.digest:
            raise PassportInvalidError(f"{weights}: is not the model of this passport")
        checked.append("the weights")
    if chain is not None:
        _check_coordinator(passport, verify_chain(chain, key), chain)
        checked.append("the coordinator's chain")
    for name, other in sorted((sites or {}).items()):
        told = None if chain is None else Other(chain, key)
        _check_site(passport, name, verify_site_chain(other.path, other.key, told), other)
        checked.append(f"the chain of {name}")
    if updates is not None and start is not None:
        _recompute(passport, updates, start)
        checked.append("every round, aggregated again from the updates")
    return checked


def not_proven_in(rounds: list[RoundPassport]) -> list[str]:
    """Say what of the guarantee is not proven, site by site."""
    found: dict[tuple[str, str], list[int]] = {}
    for one in rounds:
        for said in one.statements:
            if said.not_proven:
                found.setdefault((said.site, said.not_proven), []).append(one.round)
    return [
        f"{what}: {site}, in {counted(len(numbers), 'round')}"
        for (site, what), numbers in sorted(found.items())
    ]


def _check_coordinator(passport: Passport, lines: list[ChainLine], path: Path) -> None:
    said = {line.facts["statement"]["signature"] for line in lines if line.event == "answered"}
    made = {
        (line.facts["round"], line.facts["before"], line.facts["after"])
        for line in lines
        if line.event == "aggregated" and line.facts["run"] == passport.run
    }
    for one in passport.rounds:
        for statement in one.statements:
            if statement.signature not in said:
                raise PassportInvalidError(
                    f"{path}: holds no answer of {statement.site} in round {one.round}"
                )
        if (one.round, one.model_before, one.model_after) not in made:
            raise PassportInvalidError(f"{path}: holds no such aggregation of round {one.round}")
    head = passport.head
    if head.line > len(lines) or (head.line and lines[head.line - 1].digest() != head.digest):
        raise PassportInvalidError(f"{path}: is not the {COORDINATOR}'s chain of this passport")


def _check_site(passport: Passport, name: str, lines: list[ChainLine], other: Other) -> None:
    reached = last_head(lines).line
    for one in passport.rounds:
        for said in one.statements:
            if said.site != name:
                continue
            line = lines[said.head_line - 1] if 0 < said.head_line <= reached else None
            held = line is not None and line.digest() == said.head_digest
            if (
                said.key != other.key
                or not held
                or (line is not None and not released_as_signed(line, said))
            ):
                raise PassportInvalidError(
                    f"{other.path}: does not hold what {name} signed in round {one.round}"
                )


def _recompute(passport: Passport, updates: Path, start: Path) -> None:
    """Aggregate every round again, and compare to the bit."""
    current = load_weights(start).arrays
    exact, sent = digest_arrays(current), digest_arrays(halved(current))
    if (exact, sent) != (passport.start_exact, passport.start):
        raise PassportInvalidError(f"{start}: is not what the run began with")
    aggregator: Aggregator | None = None
    for one in passport.rounds:
        spooled: dict[str, SpooledUpdate] = {}
        for said in one.statements:
            path = updates / f"round-{one.round:04d}" / f"{said.site}.safetensors"
            if not path.is_file():
                raise PassportInvalidError(f"{path}: the update is not there")
            try:
                update = SpooledUpdate(said.site, path, said.patients)
                arrays = update.arrays()
            except (SafetensorError, OSError):
                raise PassportInvalidError(f"{path}: is not an update") from None
            if digest_arrays(arrays) != said.update:
                raise PassportInvalidError(f"{path}: is not the update that {said.site} signed")
            spooled[said.site] = update
            aggregator = aggregator or Aggregator(
                passport.strategy, tuple(arrays), passport.most_patients
            )
        if aggregator is None:
            raise PassportInvalidError(f"round {one.round} has no updates")
        current, _ = aggregator.combine(one.round, current, spooled)
        if digest_arrays(halved(current)) != one.model_after:
            raise PassportInvalidError(
                f"round {one.round}: these updates do not give the model that is said"
            )
