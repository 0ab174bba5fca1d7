"""The rules of a data contract, each a function from what a site has to rows of a table.

A verdict is *cannot tell* where the facts are missing that would decide. A *must* is met
only by the verdict *met*: what cannot be told does not count as met.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np

from client.contract.ct_rules import ct_rows
from client.contract.facts import StoredImageFacts, StoredStudyFacts, TaskFacts
from client.contract.phantom_qc import PhantomMeasurement, drift_of
from client.contract.rows import (
    CANNOT_TELL,
    MET,
    NOT_MET,
    ContractRow,
    Verdict,
    make_row,
    verdict_of_share,
    worst,
)
from shared.phrases import counted
from shared.records import View
from shared.settings.contract import (
    CompletenessRule,
    CountRule,
    CrossCalibrationRule,
    DataContract,
    PhantomQcRule,
    PixelReference,
    QualityRule,
    RangeRule,
    ScannerRule,
    SiteScanner,
)

#: A share of images that was assessed below which nothing is said of all of them.
LEAST_ASSESSED: Final = 0.9


@dataclass(frozen=True)
class Evidence:
    """Everything that the rules look at: studies, and what the site says of its scanners.

    `declared` is the declared number of training patients; None: none was declared.
    """

    facts: TaskFacts
    scanners: Sequence[SiteScanner]
    measurements: Sequence[PhantomMeasurement]
    today: date
    declared: int | None = None


def rows_of(contract: DataContract, evidence: Evidence) -> list[ContractRow]:
    """Hold a contract against a site; one row a rule, in the contract's order."""
    facts = evidence.facts
    rows = [_count(rule, evidence) for rule in contract.counts]
    if contract.spacing_mm is not None:
        rows.append(_spacing(contract.spacing_mm, facts))
    if contract.scanners is not None:
        rows.append(_scanners(contract.scanners, facts))
    rows += [_complete(rule, facts) for rule in contract.completeness]
    if contract.cross_calibration is not None:
        rows.append(_cross_calibrated(contract.cross_calibration, evidence))
    rows += [_quality(rule, facts) for rule in contract.quality]
    if contract.phantom_qc is not None:
        rows.append(_phantom(contract.phantom_qc, evidence))
    rows += [_pixels(view, one, facts) for view, one in contract.pixels.items()]
    if contract.ct is not None:
        rows += ct_rows(contract.ct, facts.studies)
    return rows


# --- counts ------------------------------------------------------------------------------


def _count(rule: CountRule, evidence: Evidence) -> ContractRow:
    """Training patients; one whose class is unknown may or may not count."""
    if rule.of == "patients":
        return _declared(rule, evidence.declared)
    facts = evidence.facts
    told: dict[str, list[bool | None]] = defaultdict(list)
    for study in facts.studies:
        if study.split == "train":
            told[study.patient].append(study.has(rule.of))
    known = sum(any(answers) for answers in told.values())
    unknown = sum(not any(a) and None in a for a in told.values())
    enough, possible = known >= rule.at_least, known + unknown >= rule.at_least
    verdict = MET if enough else CANNOT_TELL if possible else NOT_MET
    found = f"{known}" + (f", and {unknown} unknown" if unknown else "")
    patients = "patient" if rule.at_least == 1 else "patients"
    return make_row(
        rule, f"count of {rule.of}", f"at least {rule.at_least} {patients}", found, verdict,
        "take in more studies of such patients" if verdict == NOT_MET
        else "take in the labels or covariates that say who counts",
    )  # fmt: skip


def _declared(rule: CountRule, declared: int | None) -> ContractRow:
    """All training patients, by the number that the hospital declared."""
    required = f"at least {counted(rule.at_least, 'patient')}"
    if declared is None:
        found, verdict, advice = "none declared", CANNOT_TELL, "run `osteofed site declare`"
    else:
        found, verdict = f"{declared} declared", MET if declared >= rule.at_least else NOT_MET
        advice = "take in more studies of such patients, then run `osteofed site declare`"
    return make_row(rule, f"count of {rule.of}", required, found, verdict, advice)


def equipment_rows(contract: DataContract, evidence: Evidence) -> list[ContractRow]:
    """Hold against a site what follows from its scanners, their phantom scans and the day alone."""
    only = DataContract(
        cross_calibration=contract.cross_calibration, phantom_qc=contract.phantom_qc
    )
    return rows_of(only, evidence)


def _complete(rule: CompletenessRule, facts: TaskFacts) -> ContractRow:
    name, required = f"completeness of {rule.of}", f"at least {rule.at_least:.0%} of studies"
    if not facts.studies:
        return make_row(rule, name, required, "no study", CANNOT_TELL, "take in studies")
    share = sum(study.has(rule.of) is True for study in facts.studies) / len(facts.studies)
    verdict = MET if share >= rule.at_least else NOT_MET
    advice = "take in the export that has it (`osteofed site ingest`)"
    return make_row(rule, name, required, f"{share:.1%}", verdict, advice)


# --- spacing and scanners ----------------------------------------------------------------


def _spacing(rule: RangeRule, facts: TaskFacts) -> ContractRow:
    required = f"{rule.low:g} to {rule.high:g} mm"
    if rule.exceptions:
        required += f", but for {rule.exceptions:.0%}"
    images = facts.images()
    sides = [(image.row_mm, image.column_mm) for image in images if image.provenance != "none"]
    sides += [(one.row_mm, one.column_mm) for study in facts.studies for one in study.volumes]
    unknown = sum(image.provenance == "none" for image in images)
    total = len(sides) + unknown
    if not total:
        return make_row(rule, "pixel spacing", required, "no image", CANNOT_TELL, "take in studies")
    outside = sum(min(pair) < rule.low or max(pair) > rule.high for pair in sides)
    verdict = verdict_of_share(outside, unknown, total, rule.exceptions)
    found = f"{outside} of {total} outside, {unknown} unknown"
    if sides:
        every = np.array(sides)
        found = f"{every.min():.3g} to {every.max():.3g} mm; {found}"
    advice = (
        "export with calibrated pixel spacing, or leave such studies out"
        if verdict == NOT_MET
        else "the files do not say their spacing: ask the vendor how to export it"
    )
    return make_row(rule, "pixel spacing", required, found, verdict, advice)


def _scanners(rule: ScannerRule, facts: TaskFacts) -> ContractRow:
    vendors, models = ", ".join(rule.vendors) or "any vendor", ", ".join(rule.models)
    required = vendors + (f"; {models}" if models else "")
    seen = Counter((study.vendor, study.model or "") for study in facts.studies)
    if not seen:
        return make_row(rule, "scanners", required, "no study", CANNOT_TELL, "take in studies")
    foreign = [
        (vendor, model)
        for vendor, model in seen
        if (rule.vendors and vendor not in rule.vendors)
        or (rule.models and model and model not in rule.models)
    ]
    nameless = bool(rule.models) and any(not model for _, model in seen)
    verdict = NOT_MET if foreign else CANNOT_TELL if nameless else MET
    found = ", ".join(
        f"{vendor} {model or '(model unknown)'}: {n}" for (vendor, model), n in sorted(seen.items())
    )
    advice = (
        "studies of other scanners are not for this task: ask the consortium"
        if foreign
        else "the files do not name the model: export them with it"
    )
    return make_row(rule, "scanners", required, found, verdict, advice)


def _own_scanners(
    study_scanner: tuple[str, str], known: Sequence[SiteScanner]
) -> list[SiteScanner]:
    vendor, model = study_scanner
    return [s for s in known if s.vendor == vendor and s.model in ("", model)]


def _in_use(studies: Sequence[StoredStudyFacts]) -> list[tuple[str, str]]:
    return sorted({(study.vendor, study.model or "") for study in studies})


def _cross_calibrated(rule: CrossCalibrationRule, evidence: Evidence) -> ContractRow:
    name, required = (
        "cross-calibration",
        f"every scanner, in the last {counted(rule.oldest_days, 'day')}",
    )
    used = _in_use(evidence.facts.studies)
    if not used:
        return make_row(rule, name, required, "no study", CANNOT_TELL, "take in studies")
    said: list[str] = []
    verdicts: list[Verdict] = []
    for scanner in used:
        words = " ".join(part for part in scanner if part)
        known = [s for s in _own_scanners(scanner, evidence.scanners) if s.factors]
        days = [
            (evidence.today - s.calibrated_on).days for s in known if s.calibrated_on is not None
        ]
        if not days:
            said.append(f"{words}: nothing known")
            verdicts.append(CANNOT_TELL)
        else:
            # Two machines of one model cannot be told apart: the older one counts.
            said.append(f"{words}: {counted(max(days), 'day')} ago")
            verdicts.append(MET if min(days) >= 0 and max(days) <= rule.oldest_days else NOT_MET)
    advice = "measure the consortium's phantom and enter factors and date in site.yaml: scanners"
    return make_row(rule, name, required, "; ".join(said), worst(verdicts), advice)


# --- quality and drift -------------------------------------------------------------------


def _quality(rule: QualityRule, facts: TaskFacts) -> ContractRow:
    name, required = f"quality flag {rule.flag}", f"at most {rule.at_most:.0%} of images"
    images = facts.images()
    assessed = [image for image in images if image.flags is not None]
    if not images or len(assessed) < LEAST_ASSESSED * len(images):
        found = f"{len(assessed)} of {counted(len(images), 'image')} assessed"
        return make_row(
            rule, name, required, found, CANNOT_TELL, "check again with `osteofed site check`"
        )
    flagged = sum(_is_flagged(image, rule.flag) for image in assessed)
    share = flagged / len(assessed)
    verdict = MET if share <= rule.at_most else NOT_MET
    advice = "look at the flagged images; leave bad ones out, or repeat them if the cause lasts"
    return make_row(rule, name, required, f"{share:.1%} of {len(assessed)}", verdict, advice)


def _is_flagged(image: StoredImageFacts, flag: str) -> bool:
    flags = image.flags or ()
    return bool(flags) if flag == "any" else flag in flags


def _phantom(rule: PhantomQcRule, evidence: Evidence) -> ContractRow:
    name = "phantom QC"
    required = f"no drift (CUSUM, k {rule.allowance:g}, h {rule.decision:g})"
    own = {
        scanner.name: scanner
        for used in _in_use(evidence.facts.studies)
        for scanner in _own_scanners(used, evidence.scanners)
    }
    if not own:
        advice = "name the scanners in site.yaml: scanners, then take in their phantom scans"
        return make_row(rule, name, required, "no named scanner", CANNOT_TELL, advice)
    said: list[str] = []
    verdicts: list[Verdict] = []
    for scanner in own.values():
        series = [
            one
            for one in evidence.measurements
            if one.scanner == scanner.name
            and (scanner.calibrated_on is None or one.day >= scanner.calibrated_on)
        ]
        if len(series) < max(rule.fewest_scans, 2):
            said.append(
                f"{scanner.name}: {counted(len(series), 'scan')} (fewest: {rule.fewest_scans})"
            )
            verdicts.append(CANNOT_TELL)
            continue
        drift = drift_of(series, rule.allowance, rule.decision)
        if drift.drifted:
            said.append(f"{scanner.name}: {drift.percent:+.1f} % since {drift.since}")
            verdicts.append(NOT_MET)
        else:
            said.append(f"{scanner.name}: none in {counted(drift.scans, 'scan')}")
            verdicts.append(MET)
    verdict = worst(verdicts)
    advice = (
        "have the scanner serviced and cross-calibrated anew, then enter the new date"
        if verdict == NOT_MET
        else "take in the daily phantom scans (`osteofed site qc`)"
    )
    return make_row(rule, name, required, "; ".join(said), verdict, advice)


def _pixels(view: View, rule: PixelReference, facts: TaskFacts) -> ContractRow:
    name, required = f"pixels of {view.value}", f"no quantile off by more than {rule.at_most:g}"
    wanted = np.asarray(rule.quantiles)
    found = facts.quantiles(view, np.linspace(0.05, 0.95, len(wanted)))
    if found is None:
        return make_row(
            rule, name, required, "no image", CANNOT_TELL, "take in studies of this view"
        )
    most = float(np.abs(found - wanted).max())
    verdict = MET if most <= rule.at_most else NOT_MET
    advice = "check window, polarity and export of this scanner against the consortium's"
    return make_row(rule, name, required, f"largest {most:.3f}", verdict, advice)


__all__ = ["CANNOT_TELL", "MET", "NOT_MET", "ContractRow", "Evidence", "equipment_rows", "rows_of"]
