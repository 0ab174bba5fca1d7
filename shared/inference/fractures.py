"""Vertebral fractures in words: the hospital's reading, what the model sees, what is uncertain.

Whoever says it is named in every sentence. A grade is named only where it, or a higher one, is
more likely than not, and the percentage beside it is that probability.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from shared.clinical.morphometry import GRADE_WORDS, grade_word
from shared.findings.facts import Grade
from shared.findings.findings import FRACTURE_GRADE
from shared.findings.region_names import levels
from shared.inference.schema import Conclusion
from shared.phrases import counted, listed

#: From this probability of a moderate or severe fracture on a vertebra is worth a look.
WORTH_A_LOOK: Final = 0.3

#: More fractured vertebrae than this are named first, and their grades said after that.
NAMED_AT_ONCE: Final = 3


def at_least(grade: Grade) -> str:
    """Name a grade by what its probability is of: that grade or a higher one."""
    word = grade_word(grade.grade)
    return word if grade.grade in (0, len(GRADE_WORDS) - 1) else f"at least {word}"


def beside(grade: Grade) -> str:
    """The hospital's own grade, to stand beside the model's; empty where there is none."""
    if grade.reported is None:
        return ""
    return f"; the hospital grades it {grade_word(grade.reported)}"


def is_missed(grade: Grade) -> bool:
    """Whether the hospital reads a fracture where the model does not."""
    return (grade.reported or 0) >= FRACTURE_GRADE > grade.grade


def is_uncertain(grade: Grade) -> bool:
    """Whether a fracture is less likely than not, and yet worth a look."""
    close = grade.suspicion >= WORTH_A_LOOK or (grade.decision or 0) >= FRACTURE_GRADE
    return grade.grade < FRACTURE_GRADE and close and not is_missed(grade)


def read_fractures(own: Conclusion | None) -> str:
    """Say which fractures the hospital reads itself, whether a model graded them or not."""
    read = {} if own is None else own.grades
    each = [
        f"{name} {grade_word(grade)}" for name, grade in read.items() if grade >= FRACTURE_GRADE
    ]
    if not each:
        return ""
    if len(each) <= NAMED_AT_ONCE:
        return f"Vertebral fracture by the hospital's own reading: {listed(each)}."
    names = levels([name for name, grade in read.items() if grade >= FRACTURE_GRADE])
    return (
        f"Vertebral fractures by the hospital's own reading: {names}. "
        f"The hospital's grades: {listed(each)}."
    )


def seen_fractures(grades: Sequence[Grade], why_none: str = "") -> str:
    """Say which fractures the model suspects, and of which vertebrae it is uncertain.

    Parameters
    ----------
    grades : sequence of Grade
    why_none : str
        Why there are no grades, where that is known: half a sentence.
    """
    if not grades:
        because = f", because {why_none}" if why_none else ""
        return f"Vertebral fractures were not assessed by the model{because}."
    suspected = [g for g in grades if g.grade >= FRACTURE_GRADE]
    mild = [
        f"{g.region} ({g.chance:.0%}{beside(g)})"
        for g in grades
        if g.grade == 1 and not is_uncertain(g) and not is_missed(g)
    ]
    uncertain = [
        f"{g.region} ({g.suspicion:.0%} for at least moderate{beside(g)})"
        for g in grades
        if is_uncertain(g)
    ]
    also = f"; at least mild deformity of {listed(mild)}" if mild else ""
    look = (
        f" The model is uncertain of {listed(uncertain)}; look at the image." if uncertain else ""
    )
    if suspected:
        each = listed([f"{g.region} {at_least(g)} ({g.chance:.0%}{beside(g)})" for g in suspected])
        first = f"Vertebral fracture suspected by the model: {each}"
        if len(suspected) > NAMED_AT_ONCE:
            names = levels([g.region for g in suspected])
            first = (
                f"Vertebral fractures suspected by the model: {names}. The model's grades: {each}"
            )
        return (
            f"{first}{also}.{look} {_missed(grades)}"
            "A vertebral fracture without major trauma matters whatever the T-score is."
        )
    also += ", on which readers often differ" if mild else ""
    return (
        f"{_missed(grades)}{_saw_none(len(grades) - len(uncertain))}{also}.{look} "
        "This does not prove that there is none."
    )


def _saw_none(number: int) -> str:
    """Say of how many vertebrae the model is not uncertain."""
    if number == 0:
        return "The model suspects no moderate or severe fracture"
    many = counted(number, "vertebra", "vertebrae")
    return f"The model saw no moderate or severe fracture in {many}"


def _missed(grades: Iterable[Grade]) -> str:
    """Say which fractures that the hospital reads no model finds."""
    missed = [
        f"{g.region} ({g.suspicion:.0%} for at least moderate)" for g in grades if is_missed(g)
    ]
    if not missed:
        return ""
    return (
        f"The model does not find the fracture of {listed(missed)}; the hospital's reading stands. "
    )


def graded_findings(grades: Iterable[Grade]) -> list[str]:
    """Say of each vertebra what was found, for the findings."""
    grades = list(grades)
    if not grades:
        return []
    missed = [g for g in grades if is_missed(g)]
    sentences = [
        f"{g.region}: {grade_word(g.reported or 0)} fracture by the hospital's own reading; the "
        f"model grades it {grade_word(g.grade)}, with a probability of {g.suspicion:.0%} for grade "
        "2 or 3."
        for g in missed
    ]
    seen = [g for g in grades if g.grade >= 1 and g not in missed]
    sentences += [_seen_sentence(g) for g in seen]
    doubtful = [g for g in grades if is_uncertain(g)]
    if doubtful:
        each = listed([f"{g.region} ({g.suspicion:.0%} for grade 2 or 3)" for g in doubtful])
        sentences.append(f"The model is uncertain of {each}: worth a look.")
    rest = [g for g in grades if g not in (*missed, *seen, *doubtful)]
    if rest:
        many = counted(len(rest), "vertebra", "vertebrae")
        sentences.append(f"The model grades {many} as not fractured.")
    return sentences


def _seen_sentence(grade: Grade) -> str:
    """A grade with the probability that belongs to it, and the hospital's beside it."""
    text = f"{grade.region}: {at_least(grade)} {grade.quantity.split(' (')[0]} by the model, "
    text += f"probability {grade.chance:.0%}"
    if grade.grade != FRACTURE_GRADE:
        text += f" ({grade.suspicion:.0%} for grade 2 or 3)"
    return f"{text}{beside(grade)}."
