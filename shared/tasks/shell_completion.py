"""Completes the names of tasks and versions in a shell; no task is imported for it."""

from __future__ import annotations

from shared.tasks import TASKS


def complete_task(incomplete: str) -> list[str]:
    """Complete a task's name in a shell."""
    return [name for name in sorted(TASKS) if name.startswith(incomplete)]


def complete_version(incomplete: str) -> list[str]:
    """Complete a version in a shell: each task's champion; numbers only the registry knows."""
    return [f"{name}@champion" for name in complete_task(incomplete.partition("@")[0])]
