"""All full-size checks, in the order in which they are made: the quick ones first."""

from __future__ import annotations

from typing import Final

from tests.verify import (
    attenuation,
    auditing,
    circularity,
    generators,
    growing_series,
    hospital,
    learning,
    mutations,
    noise,
    notations,
    persons,
    pictures,
    planted_faults,
    poisoning,
    population,
    quality,
    reader_limits,
    thin_ct,
)
from tests.verify.abdomen import real as abdomen_real
from tests.verify.abdomen import topic as abdomen
from tests.verify.topic import Topic

_ALL: Final = (
    noise.TOPIC,
    notations.TOPIC,
    auditing.TOPIC,
    population.TOPIC,
    persons.TOPIC,
    circularity.TOPIC,
    pictures.TOPIC,
    quality.TOPIC,
    planted_faults.TOPIC,
    growing_series.TOPIC,
    reader_limits.TOPIC,
    thin_ct.TOPIC,
    attenuation.TOPIC,
    poisoning.SMALL,
    mutations.TOPIC,
    hospital.TOPIC,
    learning.TOPIC,
    generators.TOPIC,
    abdomen.TOPIC,
    abdomen_real.TOPIC,
    poisoning.LARGE,
)
TOPICS: Final[dict[str, Topic]] = {topic.name: topic for topic in _ALL}
