"""Vertebral fractures in Genant's grades."""

GRADE_WORDS: tuple[str, ...] = ("none", "mild", "moderate", "severe")
