"""The two settings are frozen; whoever changes one changes what results were made of."""

import dataclasses

import pytest

from shared.phantom.person.generator import NEAR_TO_LIFE, PLAIN


def test_settings_are_those_of_the_digests() -> None:
    assert (PLAIN.digest, NEAR_TO_LIFE.digest) == ("68b5b0c39cca10da", "054d066b61ac2a2d")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        PLAIN.rarity = 1.0  # type: ignore[misc]


def test_each_setting_changes_the_digest() -> None:
    other = dataclasses.replace(PLAIN, looks_a_vendor=2)
    assert other.digest != PLAIN.digest
