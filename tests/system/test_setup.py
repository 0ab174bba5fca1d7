"""`make setup` says what it does; a step that fails says how to go on; half of it heals.

Python and pip are stand-ins here: shell scripts that do what a case needs.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: Makes an environment whose pip does what a file says; answers questions as Python would.
PYTHON = """\
#!/bin/sh
if [ "$1" = -c ]; then exec "{python}" -I -S -c "$2"; fi
echo "$@" >> "{folder}/asked"
[ "$1 $2" = "-m venv" ] || exit 9
[ -e "{folder}/venv-fails" ] && {{ echo "Error: Permission denied" >&2; exit 1; }}
rm -rf .venv; mkdir -p .venv/bin; cp "{folder}/pip" .venv/bin/python
"""
PIP = """\
#!/bin/sh
echo "$@" >> "{folder}/asked"
[ "$1" = -c ] && exit 0
[ -e "{folder}/pip-says" ] && {{ cat "{folder}/pip-says" >&2; exit 1; }}
exit 0
"""


class Setup:
    """A folder with the Makefile, and a Python that is none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, folder)
        for name, text in (("python3", PYTHON), ("pip", PIP)):
            script = folder / name
            script.write_text(text.format(folder=folder, python=sys.executable))
            script.chmod(script.stat().st_mode | stat.S_IXUSR)

    def make(self, *words: str, python: str | None = None) -> tuple[int, str]:
        done = subprocess.run(
            ["make", "setup", f"PYTHON={python or self.folder / 'python3'}", *words],
            cwd=self.folder, capture_output=True, text=True, check=False,
            env={key: value for key, value in os.environ.items() if not key.startswith("MAKE")},
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def asked(self) -> list[str]:
        path = self.folder / "asked"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(tmp_path)


def test_it_says_what_it_does_and_how_long_it_takes(setup: Setup) -> None:
    code, said = setup.make()
    assert code == 0
    for words in ("about three minutes", "about 3 GB", ".venv/bin/osteofed"):
        assert words in said
    assert "pip install" not in said  # the commands themselves are no news
    assert (setup.folder / ".venv/.installed").exists()
    again = setup.make()
    assert again[0] == 0
    assert "three minutes" not in again[1]


@pytest.mark.parametrize(
    ("pip_says", "advice"),
    [
        ("WARNING: Retrying after connection broken by 'NewConnectionError'\n"
         "ERROR: Could not find a version that satisfies the requirement torch",
         "export HTTPS_PROXY"),
        ("ERROR: HTTP error 403 while getting https://index/torch", "export PIP_INDEX_URL"),
        ("ERROR: Could not install packages: [Errno 28] No space left on device", "Make room"),
        ("ERROR: something that nobody foresaw", "rm -rf .venv"),
    ],
)  # fmt: skip
def test_a_failed_installation_says_how_to_go_on_and_goes_on(
    setup: Setup, pip_says: str, advice: str
) -> None:
    (setup.folder / "pip-says").write_text(pip_says)
    code, said = setup.make()
    assert code != 0
    assert pip_says.splitlines()[-1] in said
    assert advice in said
    assert said.count("make setup:") == 1
    (setup.folder / "pip-says").unlink()
    assert setup.make()[0] == 0
    made = [line for line in setup.asked() if line.startswith("-m venv")]
    assert len(made) == 1  # what was there was kept


@pytest.mark.parametrize("left", ["nothing in it", "a broken Python"])
def test_a_half_made_environment_heals(setup: Setup, left: str) -> None:
    (setup.folder / ".venv" / "bin").mkdir(parents=True)
    if left == "a broken Python":
        (setup.folder / ".venv/bin/python").symlink_to("/nowhere/python3")
    code, said = setup.make()
    assert code == 0, said
    assert "-m venv --clear .venv" in setup.asked()


def test_an_environment_that_cannot_be_made_says_so(setup: Setup) -> None:
    (setup.folder / "venv-fails").touch()
    code, said = setup.make()
    assert code != 0
    assert "Permission denied" in said
    assert "could not be made" in said
    assert not (setup.folder / ".venv/.installed").exists()


def test_a_python_without_ensurepip_names_the_package(setup: Setup) -> None:
    script = setup.folder / "python3"
    hide = "import importlib.util as u; u.find_spec = lambda name: None; "
    script.write_text(script.read_text().replace('-c "$2"', f'-c "{hide}$2"'))
    code, said = setup.make()
    assert code != 0
    package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    assert f"sudo apt-get install {package}" in said
    assert setup.asked() == []


def test_without_python_or_with_an_old_one_it_says_which_is_needed(setup: Setup) -> None:
    code, said = setup.make(python="/nowhere/python3")
    assert code != 0
    assert "Install Python 3.11 or newer" in said
    script = setup.folder / "python3"
    old = "import sys; sys.version_info = (3, 9, 1); "
    script.write_text(script.read_text().replace('-c "$2"', f'-c "{old}$2"'))
    code, said = setup.make()
    assert code != 0
    assert "OsteoFed needs Python 3.11 or newer" in said
