"""Settings files: what is wrong in them is said with file, key, value and remedy."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from shared.errors import BudgetInvalidError, ConfigError, ConfigValueError
from shared.settings.files import (
    FederationConfig,
    SiteConfig,
    load_settings,
    resolve,
    save_settings,
)
from shared.settings.task import NetworkSettings, TaskSettings


def write(folder: Path, text: str) -> Path:
    path = folder / "site.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml: no such file"):
        load_settings(tmp_path / "absent.yaml", SiteConfig)


def test_an_unknown_key_is_named_with_the_known_ones(tmp_path: Path) -> None:
    path = write(tmp_path, "site: north\nprivacy: {epsilon: 3}\n")
    with pytest.raises(ConfigValueError, match=r"site\.yaml: privacy\.epsilon: unknown key") as e:
        load_settings(path, SiteConfig)
    assert "epsilon_budget" in str(e.value)


def test_an_unknown_key_inside_a_list_is_named(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "workspace: w\nruntime: {sites: [a]}\ntasks: [{settings: t.yaml, round: 3}]\n",
    )
    with pytest.raises(ConfigValueError, match=r"tasks\.0\.round: unknown key .*rounds"):
        load_settings(path, FederationConfig)


@pytest.mark.parametrize("budget", ["0", "-1"])
def test_a_budget_that_allows_nothing_has_its_own_error(tmp_path: Path, budget: str) -> None:
    path = write(tmp_path, f"site: north\nprivacy: {{epsilon_budget: {budget}}}\n")
    with pytest.raises(BudgetInvalidError, match=r"privacy\.epsilon_budget: .*greater than 0"):
        load_settings(path, SiteConfig)


@pytest.mark.parametrize("text", ["site: [", "\tsite: x", "just words"])
def test_what_is_not_yaml_settings_is_refused_in_one_sentence(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_settings(write(tmp_path, text), SiteConfig)
    assert "\n" not in str(error.value)


def test_a_split_that_does_not_sum_to_one_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "site: north\nsplit: {train: 0.5, validation: 0.1, test: 0.1}\n")
    with pytest.raises(ConfigValueError, match=r"0\.7 \(must be 1\)"):
        load_settings(path, SiteConfig)


def test_a_site_names_with_whom_its_hips_compare(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text("site: riverside\n")
    assert load_settings(path, SiteConfig).scores.hip == "nhanes"
    path.write_text("site: riverside\nscores: {hip: scanner}\n")
    assert load_settings(path, SiteConfig).scores.hip == "scanner"
    path.write_text("site: riverside\nscores: {hip: korean}\n")
    with pytest.raises(ConfigError, match=r"scores.*hip"):
        load_settings(path, SiteConfig)


def test_saved_settings_load_as_they_were(tmp_path: Path) -> None:
    settings = SiteConfig(site="north")
    save_settings(settings, tmp_path / "site.yaml")
    assert load_settings(tmp_path / "site.yaml", SiteConfig) == settings


def test_paths_are_relative_to_their_file(tmp_path: Path) -> None:
    assert resolve(tmp_path, Path("store")) == (tmp_path / "store").resolve()
    assert resolve(tmp_path, Path("/elsewhere")) == Path("/elsewhere")


@pytest.mark.parametrize("path", sorted(Path("configs/tasks").glob("*.yaml")), ids=lambda p: p.name)
def test_every_task_file_that_ships_is_valid_and_names_its_task(path: Path) -> None:
    settings = load_settings(path, TaskSettings)
    assert path.name.startswith(settings.task)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_grad_norm", ".inf"),
        ("max_grad_norm", "1.0e-7"),
        ("max_grad_norm", "1.0e7"),
        ("learning_rate", ".inf"),
        ("learning_rate", ".nan"),
        ("learning_rate", "1.0e7"),
        ("sample_rate", "1.0e-7"),
        ("sample_rate", ".nan"),
    ],
)
def test_a_number_that_is_no_bound_is_refused(tmp_path: Path, key: str, value: str) -> None:
    path = write(tmp_path, f"task: dxa-bmd\nprivate: {{{key}: {value}}}\n")
    with pytest.raises(ConfigValueError, match=rf"private\.{key}: .*input should be"):
        load_settings(path, TaskSettings)


def test_a_budget_is_never_endless(tmp_path: Path) -> None:
    path = write(tmp_path, "site: north\nprivacy: {epsilon_budget: .inf}\n")
    with pytest.raises(ConfigValueError, match=r"privacy\.epsilon_budget: .*finite"):
        load_settings(path, SiteConfig)


def test_a_budget_that_promises_nothing_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "site: north\nprivacy: {epsilon_budget: 65}\n")
    with pytest.raises(ConfigValueError, match=r"epsilon_budget: 65 \(must be at most 64"):
        load_settings(path, SiteConfig)


@pytest.mark.parametrize("size", [(4097, 64), (64, 10**9), (0, 64)])
def test_a_side_of_an_image_is_bounded(size: tuple[int, int]) -> None:
    with pytest.raises(ValidationError, match=r"image_size\.[01]"):
        NetworkSettings(image_size=size)
    assert NetworkSettings(image_size=(4096, 4096)).image_size == (4096, 4096)
