"""Vertebral fractures in Genant's grades."""

GRADE_WORDS: tuple[str, ...] = ("none", "mild", "moderate", "severe")


def grade_word(grade: int) -> str:
    """Name a Genant grade, 0 to 3, as a reader says it."""
    return GRADE_WORDS[grade] if grade else "not fractured"
