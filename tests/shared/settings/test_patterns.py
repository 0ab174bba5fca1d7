"""Whoever writes a setting wrongly is told in words what it may be, and never by a pattern."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from client.cli.main import app
from shared.errors import ConfigValueError
from shared.settings.base import Settings
from shared.settings.contract import DataContract
from shared.settings.files import FederationConfig, SiteConfig, parse_settings
from shared.settings.patterns import WORDS
from shared.settings.task import TaskSettings


def patterns(schema: Any) -> Iterator[str]:
    """Every pattern that stands in a schema."""
    if isinstance(schema, dict):
        if isinstance(schema.get("pattern"), str):
            yield schema["pattern"]
        for part in schema.values():
            yield from patterns(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from patterns(part)


@pytest.mark.parametrize("kind", [SiteConfig, FederationConfig, TaskSettings, DataContract])
def test_every_pattern_of_the_settings_has_its_words(kind: type[Settings]) -> None:
    assert set(patterns(kind.model_json_schema())) <= set(WORDS)


def test_the_patterns_of_a_site_are_found() -> None:
    assert len(set(patterns(SiteConfig.model_json_schema()))) >= 5
    assert patterns(json.loads('{"a": [{"pattern": "x"}]}')).__next__() == "x"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"site": "Bad Name!"}, "site: 'Bad Name!' (must be 1 to 40 of the lower-case letters"),
        ({"policy": {"hours": "8-17"}}, "must be a span of the day such as 20:00-06:00"),
        ({"labels": {"classes": ["?"]}}, "must be 1 to 24 letters, digits"),
        ({"scanners": [{"name": "", "vendor": "lunar"}]}, "must be 1 to 40 letters, digits"),
        ({"pacs": {"web": {"url": "pacs"}}}, "must begin with http:// or https://"),
        ({"pacs": {"peer": {"host": "h", "title": "ÄÖ"}}}, "must be 1 to 16 characters"),
        ({"pacs": {"peer": {"host": "h", "title": "A", "retrieve": "x"}}}, "'get' or 'move'"),
    ],
)
def test_a_wrong_text_is_answered_in_words(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigValueError) as error:
        parse_settings({"site": "alpha"} | wrong, SiteConfig, "site.yaml")
    assert said in str(error.value)
    assert not re.search(r"\[a-z|\^|pattern", str(error.value))


def test_what_nothing_counts_is_answered_in_words() -> None:
    with pytest.raises(ConfigValueError) as error:
        parse_settings({"counts": [{"of": "age:old", "at_least": 1}]}, DataContract, "contract")
    assert "age:50-70" in str(error.value)
    assert "sex:F or M" in str(error.value)
    assert not re.search(r"\\d|\[A-Z|\|", str(error.value))


def test_a_site_s_name_is_asked_for_in_words(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["init", str(tmp_path / "site"), "--name", "Bad Name!"])
    assert isinstance(done.exception, ConfigValueError)
    assert "lower-case letters a to z, digits and hyphens" in str(done.exception)
