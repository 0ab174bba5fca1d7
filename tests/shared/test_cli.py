"""What the machine would not give ends as one sentence; a fault of ours keeps its traceback."""

import errno

import click
import pytest

from shared import cli
from shared.errors import DiskFullError, NotPermittedError


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/data/run/plan.json"), DiskFullError,
         "the disk is full (/data/run/plan.json)"),
        (PermissionError(errno.EACCES, "Permission denied", "/data/site.yaml"), NotPermittedError,
         "/data/site.yaml may not be read or written"),
    ],
)  # fmt: skip
def test_the_machine_s_refusals_are_sentences(
    error: OSError,
    kind: type[Exception],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refused(**_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "build", lambda asked: refused)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == kind.exit_code  # type: ignore[attr-defined]
    assert says in capsys.readouterr().err


def test_a_fault_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> None:
        raise KeyError("ours")

    monkeypatch.setattr(cli, "build", lambda asked: broken)
    with pytest.raises(KeyError):
        cli.main()


@pytest.mark.parametrize(
    ("asked", "groups"),
    [
        ("site", {"site"}), ("server", {"server"}), ("", {"site", "server"}),
        ("sitte", {"site", "server"}), ("predict", {"site", "server"}),
    ],
)  # fmt: skip
def test_only_the_group_that_is_asked_for_is_put_together(asked: str, groups: set[str]) -> None:
    found = {group.name for group in cli.build(asked).registered_groups}
    assert found == groups | {"phantom"}


@pytest.mark.parametrize(
    "words",
    [["sit"], ["server", "runn"], ["server", "passport", "verfy"], ["server", "audit", "shwo"],
     ["site", "ingset"], ["site", "audit", "verfy"], ["phantom", "mak"]],
)  # fmt: skip
def test_a_mistyped_command_is_answered_with_similar_ones_once(words: list[str]) -> None:
    with pytest.raises(click.UsageError) as error:
        cli.build(words[0])(words, standalone_mode=False)
    said = error.value.format_message()
    assert f"No such command '{words[-1]}'" in said
    assert said.count("Did you mean") == 1
