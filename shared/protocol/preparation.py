"""Versions of other tasks that prepare a task's input: how a request names and brings them.

A study is completed by what such a version finds, where nobody drew anything
(`shared.findings.completion`). Which version it is stands in the job, and with it in
everything that is signed or keyed by the job.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from shared.audit.keys import digest_of
from shared.protocol.account import Name
from shared.protocol.signatures import Digest
from shared.settings.base import Settings
from shared.settings.task import TaskSettings

#: Begins the name of the array record that brings a version's weights.
RECORD: Final = "prepare:"
#: More versions than this prepare no task's input.
MOST: Final = 4


class Preparation(Settings):
    """One version of a task, whose findings prepare the input of another.

    Attributes
    ----------
    settings : TaskSettings
        Task and network of the version.
    digest : str
        `shared.training.weights.digest_arrays` of its weights as they travel, in half
        precision; a version of the registry is so already.
    """

    settings: TaskSettings
    digest: Digest

    @property
    def used(self) -> TaskSettings:
        """All of the settings that a finding may follow from: the task and its network."""
        return TaskSettings(task=self.settings.task, network=self.settings.network)

    @property
    def network(self) -> str:
        """Digest of what is `used` of the settings, 64 hexadecimal digits."""
        network = self.settings.network.model_dump(mode="json")
        return digest_of({"task": self.settings.task, "network": network})


def _named_by_their_task(given: dict[str, Preparation]) -> dict[str, Preparation]:
    for name, one in given.items():
        if one.settings.task != name:
            raise ValueError(f"{name} with settings of {one.settings.task}")
    return given


#: Versions by the name of their task. Every field that holds some is left out where there are
#: none: what needs no preparation has the digests that it had before there was any.
Preparations = Annotated[
    dict[Name, Preparation], Field(max_length=MOST), AfterValidator(_named_by_their_task)
]


def record_of(task: str) -> str:
    """Name the array record that brings the weights of a preparing task."""
    return f"{RECORD}{task}"


def digests_of(preparations: Mapping[str, Preparation]) -> dict[str, str]:
    """Give the digest of each version's weights, by task."""
    return {name: preparations[name].digest for name in sorted(preparations)}


def networks_of(preparations: Mapping[str, Preparation]) -> dict[str, str]:
    """Give the digest of each version's task and network settings, by task."""
    return {name: preparations[name].network for name in sorted(preparations)}
