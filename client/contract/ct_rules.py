"""The rules of a data contract about CT series: one table, each rule a number or word of a series.

Of a study with several series, the one that meets most of the rules counts: hospitals make
several of one scan, and a task needs one that suits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from client.contract.facts import StoredStudyFacts, StoredVolumeFacts
from client.contract.rows import CANNOT_TELL, NOT_MET, ContractRow, make_row, verdict_of_share
from shared.phrases import counted
from shared.settings.contract import (
    AtMostRule,
    CompleteSeriesRule,
    ContrastRule,
    CtRules,
    KernelRule,
    RangeRule,
)

#: What a series has that a rule looks at; None = the files do not say.
Fact = float | str | bool | None


@dataclass(frozen=True)
class _SeriesRule:
    """One rule: its name in `CtRules`, its unit, what it looks at, and what to do."""

    name: str
    requirement: str
    unit: str
    fact: Callable[[StoredVolumeFacts], Fact]
    advice: str


WHOLE_SERIES: Final = "CT series complete"
RULES: Final = (
    _SeriesRule(
        "kvp", "CT tube voltage", "kV", lambda one: one.kvp,
        "series of other tube voltages are not for this task: ask the consortium",
    ),
    _SeriesRule(
        "thickness_mm", "CT slice thickness", "mm", lambda one: one.thickness_mm,
        "export the series that were reconstructed with such slices",
    ),
    _SeriesRule(
        "gap_mm", "CT gap between slices", "mm", lambda one: one.gap_mm,
        "export a series whose slices touch or overlap",
    ),
    _SeriesRule(
        "field_of_view_mm", "CT field of view", "mm", lambda one: one.field_of_view_mm,
        "export the series of the whole body's width, or of the spine, as the contract asks",
    ),
    _SeriesRule(
        "kernels", "CT kernel", "", lambda one: one.kernel or None,
        "export the series that were reconstructed with these kernels",
    ),
    _SeriesRule(
        "contrast", "CT contrast agent", "", lambda one: one.contrast,
        "export the series of the other phase, or leave such studies out",
    ),
    _SeriesRule(
        "completeness", WHOLE_SERIES, "", lambda one: one.completeness,
        "export the whole series again and take it in: it replaces the part; or leave such "
        "studies out",
    ),
)  # fmt: skip


def ct_rows(rules: CtRules, studies: Sequence[StoredStudyFacts]) -> list[ContractRow]:
    """Hold the rules about CT series against studies; one row a rule that is given."""
    asked = [(one, getattr(rules, one.name)) for one in RULES]
    # Where a contract says nothing, parts of series are told and refuse nothing: a refusal that
    # nobody agreed to would say something about single patients.
    unsaid = rules.completeness is None
    told = CompleteSeriesRule(weight="should")
    asked = [(one, told if unsaid and one.name == "completeness" else rule) for one, rule in asked]
    asked = [(one, rule) for one, rule in asked if rule is not None]
    chosen = [_chosen(study.volumes, asked) for study in studies if study.volumes]
    rows = [_series_row(one, rule, chosen) for one, rule in asked]
    if unsaid:  # it is told where it matters
        rows = [row for row in rows if row.requirement != WHOLE_SERIES or row.verdict == NOT_MET]
    if rules.months is not None:
        rows.append(_months_row(rules.months, studies))
    return rows


def _chosen(
    volumes: Sequence[StoredVolumeFacts], asked: Sequence[tuple[_SeriesRule, Any]]
) -> StoredVolumeFacts:
    """Of the series of a study, the first of those that meet most rules."""
    return max(volumes, key=lambda one: sum(_meets(rule, r.fact(one)) is True for r, rule in asked))


def _meets(rule: Any, fact: Fact) -> bool | None:
    """Say whether a fact of a series meets a rule, None if the fact is unknown."""
    if fact is None:
        return None
    if isinstance(rule, RangeRule):
        return rule.low <= float(fact) <= rule.high
    if isinstance(rule, AtMostRule):
        return float(fact) <= rule.at_most
    if isinstance(rule, CompleteSeriesRule):
        return fact not in rule.refuses
    if isinstance(rule, KernelRule):
        return str(fact).casefold() in {name.casefold() for name in rule.names}
    return bool(fact) is rule.given


def _required(rule: Any, unit: str) -> str:
    """What a rule asks for, in words."""
    if isinstance(rule, RangeRule):
        text = f"{rule.low:g} to {rule.high:g} {unit}"
    elif isinstance(rule, AtMostRule):
        text = f"at most {rule.at_most:g} {unit}"
    elif isinstance(rule, CompleteSeriesRule):
        text = f"none {' or '.join(rule.refuses)}" if rule.refuses else "any"
    elif isinstance(rule, KernelRule):
        text = ", ".join(rule.names)
    else:
        text = "given" if rule.given else "none"
    return text + (f", but for {rule.exceptions:.0%}" if rule.exceptions else "")


def _series_row(
    one: _SeriesRule,
    rule: RangeRule | AtMostRule | KernelRule | ContrastRule | CompleteSeriesRule,
    chosen: Sequence[StoredVolumeFacts],
) -> ContractRow:
    return _row(
        rule, one.requirement, one.unit, [one.fact(series) for series in chosen], one.advice
    )


def _months_row(rule: AtMostRule, studies: Sequence[StoredStudyFacts]) -> ContractRow:
    months: list[Fact] = [
        abs(study.paired_months)
        for study in studies
        if study.volumes and study.paired_months is not None
    ]
    advice = "set pairing.months of site.yaml to this, or take in the DXA results near the studies"
    return _row(rule, "months to the paired BMD", "months", months, advice)


def _row(rule: Any, requirement: str, unit: str, facts: Sequence[Fact], advice: str) -> ContractRow:
    required = _required(rule, unit)
    if not facts:
        found = "no study with a CT series" if unit != "months" else "no paired BMD"
        return make_row(rule, requirement, required, found, CANNOT_TELL, "take in studies")
    answers = [_meets(rule, fact) for fact in facts]
    outside, unknown = answers.count(False), answers.count(None)
    verdict = verdict_of_share(outside, unknown, len(answers), rule.exceptions)
    found = f"{outside} of {counted(len(answers), 'study', 'studies')} not, {unknown} unknown"
    if verdict != NOT_MET:
        advice = "the files do not say it: ask who runs the scanner or the PACS"
    return make_row(rule, requirement, required, f"{_seen(facts)}; {found}", verdict, advice)


def _seen(facts: Sequence[Fact]) -> str:
    """What the site has: the range of numbers, how often a word or answer stands there."""
    numbers = [
        fact for fact in facts if isinstance(fact, (int, float)) and not isinstance(fact, bool)
    ]
    if numbers:
        return f"{min(numbers):.3g} to {max(numbers):.3g}"
    words = {True: "given", False: "none", None: "unknown"}
    counted = Counter(fact if isinstance(fact, str) else words[fact] for fact in facts)  # type: ignore[index]
    return ", ".join(f"{word}: {count}" for word, count in sorted(counted.items()))
