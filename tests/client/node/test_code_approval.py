"""Code runs in a hospital from its approval until that is withdrawn, and no longer."""

from __future__ import annotations

import hashlib
import importlib
import io
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from client.cli.main import app
from client.identity.chain import AUDIT, make_identity, site_key
from client.node import approved_app
from client.node.code_approval import approve, approved_digests, disapprove, read_bundle
from shared.audit.chain import verify_chain
from shared.errors import CodeNotApprovedError, InputUnreadableError

ROOT = Path(__file__).resolve().parents[3]
SETTINGS = """\
[project]
name = "tiny"
version = "{version}"
license = "MIT"
dependencies = []
[tool.flwr.app]
publisher = "osteofed"
[tool.flwr.app.components]
serverapp = "a:app"
clientapp = "a:app"
[tool.flwr.app.config]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    site = tmp_path / "site"
    site.mkdir()
    (site / "site.yaml").write_text("site: alpha\n")
    make_identity(site, "alpha")
    return site


def bundle(folder: Path, version: str, more: dict[str, bytes] | None = None) -> Path:
    """Write a bundle in Flower's form."""
    files = {"pyproject.toml": SETTINGS.format(version=version).encode(), "a.py": b"app = 1\n"}
    files |= more or {}
    content = "\n".join(
        f"{name},{hashlib.sha256(data).hexdigest()},{8 * len(data)}" for name, data in files.items()
    )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in {**files, ".info/CONTENT": content.encode()}.items():
            archive.writestr(name, data)
    path = folder / f"{version}.fab"
    path.write_bytes(packed.getvalue())
    return path


def unpacked(folder: Path) -> set[str]:
    return {path.name.rpartition(".")[2] for path in (folder / "approved" / "apps").iterdir()}


def test_a_withdrawn_bundle_is_gone_and_the_others_stay(folder: Path) -> None:
    old, new = (read_bundle(bundle(folder.parent, version)) for version in ("1.0.0", "1.0.1"))
    approve(folder, old)
    approve(folder, new)
    assert unpacked(folder) == {old.digest[:8], new.digest[:8]}
    done = CliRunner().invoke(app, ["disapprove", str(folder), old.digest])
    assert done.exit_code == 0, done.output
    assert set(approved_app._approved(folder)) == {new.digest}
    assert unpacked(folder) == {new.digest[:8]}
    last = verify_chain(folder / AUDIT, site_key(folder).public)[-1]
    assert (last.event, last.facts) == ("disapproved", {"digest": old.digest})
    for path in (folder / "approved").rglob("*"):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o222, path
    approve(folder, old)  # it can be approved anew
    assert [one["digest"] for one in approved_digests(folder)] == [new.digest, old.digest]


def test_what_is_not_approved_cannot_be_withdrawn(folder: Path) -> None:
    done = CliRunner().invoke(app, ["disapprove", str(folder), "0" * 64])
    assert isinstance(done.exception, CodeNotApprovedError)
    assert "approved: nothing" in str(done.exception)


@pytest.mark.parametrize("change", ["source", "compiled", "added", "removed", "link"])
def test_code_that_was_changed_since_it_was_approved_does_not_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.setattr(approved_app, "_forget_ours", lambda: None)
    shown = read_bundle(bundle(folder.parent, "1.0.0"))
    approve(folder, shown)
    content = shown.path.read_bytes()
    place = approved_app._check(content, approved_app._approved(folder), folder)
    assert (place / "a.py").read_text() == "app = 1\n"
    [compiled] = place.rglob("*.pyc")
    for path in (place, compiled.parent, compiled, place / "a.py"):
        path.chmod(0o700)
    if change == "source":
        (place / "a.py").write_text("app = 2\n")
    elif change == "compiled":
        compiled.write_bytes(compiled.read_bytes() + b"\0")
    elif change == "added":
        (place / "b.py").write_text("")
    elif change == "removed":
        (place / "a.py").unlink()
    else:
        (place / "a.py").rename(folder / "a.py")
        (place / "a.py").symlink_to(folder / "a.py")
    with pytest.raises(CodeNotApprovedError, match="not as this hospital approved them") as said:
        approved_app._check(content, approved_app._approved(folder), folder)
    assert str(folder) not in str(said.value)
    last = verify_chain(folder / AUDIT, site_key(folder).public)[-1]
    assert last.event == "bundle refused"
    approve(folder, shown)  # what the refusal advises
    assert approved_app._check(content, approved_app._approved(folder), folder) == place


@pytest.mark.parametrize("name", ["__pycache__/a.cpython-311.pyc", "a.cpython-311-x86.so"])
def test_a_bundle_with_compiled_code_is_not_even_shown(folder: Path, name: str) -> None:
    with pytest.raises(InputUnreadableError, match="nobody can review"):
        read_bundle(bundle(folder.parent, "1.0.0", {name: b"x"}))


def test_flower_loads_what_was_compared_whatever_the_message_calls_its_version(
    folder: Path,
) -> None:
    from flwr.clientapp import utils

    runtime = importlib.import_module("flwr.supernode.runtime.run_clientapp")
    shown = read_bundle(bundle(folder.parent, "1.0.0"))
    approve(folder, shown)
    # Stand-ins with the names that the installed Flower has: its own stay as they are.
    names = ("install_from_fab", "get_project_dir")
    running = SimpleNamespace(**{name: getattr(runtime, name) for name in names})
    loading = SimpleNamespace(get_project_dir=vars(utils)["get_project_dir"])
    approved_app._allow_only_approved(running, loading, folder)
    outside = ("osteofed/tiny", f"1.0.0.{shown.digest[:8]}/../../evil", shown.digest)
    with pytest.raises(RuntimeError, match="before its bundle was compared"):
        loading.get_project_dir(*outside)
    place = running.install_from_fab(shown.content, skip_prompt=True)
    assert running.get_project_dir(*outside) == loading.get_project_dir(*outside) == place
    with pytest.raises(RuntimeError, match="no get_project_dir"):
        approved_app._allow_only_approved(running, SimpleNamespace(), folder)


LOADS = """
import importlib, sys
from pathlib import Path
from flwr.supercore.object_ref import load_app
from client.node.approved_app import _allow_only_approved, _use_nothing_else, load_approved

class Odd:  # as torch puts one among the modules
    def __getattr__(self, name):
        return self

sys.modules["odd"] = Odd()
folder, asked = Path(sys.argv[1]), Path(sys.argv[2]).read_bytes()
loaded = load_approved(folder)
if loaded is None:
    print("loaded nothing", "client.word" in sys.modules)
    _use_nothing_else()
else:
    print("loaded", sys.modules["client.word"].WORD, sys.modules["client.app"].__file__)
if len(sys.argv) > 3:  # code on the disk is changed after it was loaded
    changed = Path(sys.modules["client.word"].__file__)
    changed.chmod(0o600)
    changed.write_text("WORD = 'evil'")
runtime = importlib.import_module("flwr.supernode.runtime.run_clientapp")
loading = importlib.import_module("flwr.clientapp.utils")
_allow_only_approved(runtime, loading, folder, loaded)
try:
    place = runtime.install_from_fab(asked, skip_prompt=True)
except Exception as error:
    import client.word
else:
    print("answers", load_app("a:app", ValueError, place))
"""


def worded(folder: Path, version: str, word: str) -> Path:
    """A bundle whose code says a word, with modules of our names."""
    files = {
        "a.py": b"from client.app import app",
        "client/__init__.py": b"",
        "client/app.py": b"from client.word import WORD as app",
        "client/word.py": f"WORD = '{word}'".encode(),
    }
    return bundle(folder, version, files)


def loads(folder: Path, asked: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LOADS, str(folder), str(asked), *more],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip


def test_the_only_approved_bundle_is_loaded_before_a_message(folder: Path) -> None:
    old, new = (worded(folder.parent, version, word)
                for version, word in (("1.0.0", "old"), ("1.0.1", "new")))  # fmt: skip
    approve(folder, read_bundle(old))
    run = loads(folder, old)
    assert run.stdout.startswith(f"loaded old {folder / 'approved' / 'apps'}"), run.stderr
    assert run.stdout.splitlines()[1] == "answers old"
    approve(folder, read_bundle(new))  # of two, none: each answers what is its own
    for asked, word in ((new, "new"), (old, "old")):
        run = loads(folder, asked)
        assert run.stdout.splitlines() == ["loaded nothing False", f"answers {word}"], run.stderr


@pytest.mark.parametrize("says", ["raise SystemExit(3)", "import nothing_of_that_name"])
def test_code_that_cannot_be_loaded_ends_nothing(folder: Path, says: str) -> None:
    broken = bundle(folder.parent, "1.0.0", {"client/__init__.py": says.encode()})
    approve(folder, read_bundle(broken))
    shutil.rmtree(folder / "node", ignore_errors=True)  # and the log has no place
    run = loads(folder, broken)
    assert run.stdout.splitlines()[0] == "loaded nothing False", run.stderr


def test_modules_of_this_installation_fill_no_gap_of_a_bundle(folder: Path) -> None:
    files = {
        "a.py": b"import client.app; app = 1",
        "client/__init__.py": b"",
        "client/app.py": b"import client.privacy.policy",
    }
    gap = bundle(folder.parent, "1.0.0", files)
    approve(folder, read_bundle(gap))
    run = loads(folder, gap)
    assert run.stdout.splitlines()[0] == "loaded nothing False", run.stdout
    assert "No module named 'client.privacy'" in run.stderr


def test_code_that_was_loaded_and_then_changed_on_the_disk_does_not_answer(folder: Path) -> None:
    new = worded(folder.parent, "1.0.0", "new")
    approve(folder, read_bundle(new))
    run = loads(folder, new, "changed")
    assert "loaded new" in run.stdout
    assert "answers" not in run.stdout
    # Neither the loaded module nor its folder is there any more.
    assert "No module named 'client.word'" in run.stderr
    last = verify_chain(folder / AUDIT, site_key(folder).public)[-1]
    assert last.event == "bundle refused"


def test_a_changed_list_of_approved_code_is_seen(folder: Path) -> None:
    states = [approved_app.list_digest(folder)]
    old, new = (read_bundle(bundle(folder.parent, version)) for version in ("1.0.0", "1.0.1"))
    for one in (old, new):
        approve(folder, one)
        states.append(approved_app.list_digest(folder))
    disapprove(folder, new.digest)
    states.append(approved_app.list_digest(folder))
    assert states[0] == ""
    assert len(set(states)) == 3
    assert states[3] == states[1]


def test_without_anybody_to_ask_it_says_what_to_do(folder: Path) -> None:
    path = bundle(folder.parent, "1.0.0")
    done = CliRunner().invoke(app, ["approve", str(folder), str(path)], input="")
    assert done.exit_code == 2
    assert "give --yes" in done.output
    assert approved_digests(folder) == []
    assert CliRunner().invoke(app, ["approve", str(folder), str(path)], input="y\n").exit_code == 0


# --- what a bundle may be -------------------------------------------------------------------


def tree(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.mark.parametrize("version", ["1/../../../../evil", "..", "1.0.0/x", "1..2", "/etc", ""])
def test_a_bundle_that_would_be_written_elsewhere_is_refused(folder: Path, version: str) -> None:
    path = bundle(folder.parent, "good")
    rewritten(path, {"pyproject.toml": SETTINGS.format(version=version).encode()})
    before = tree(folder.parent)
    with pytest.raises(InputUnreadableError, match="its version is"):
        approve(folder, read_bundle(path))
    assert tree(folder.parent) == before


@pytest.mark.parametrize(
    "name", ["../outside.py", "/root.py", "a/../../b.py", "a\\b.py", "c:/d.py"]
)
def test_a_name_that_leads_out_of_a_bundle_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(InputUnreadableError, match="is no name of a file in it"):
        read_bundle(bundle(folder.parent, "1.0.0", {name: b"x"}))


def test_a_small_bundle_that_unpacks_to_gigabytes_is_refused_unread(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bundle(folder.parent, "1.0.0")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        for number in range(70):
            archive.writestr(f"zeros{number}.py", bytes(1_000_000))
    assert path.stat().st_size < 150_000
    monkeypatch.setattr(zipfile.ZipFile, "read", None)
    with pytest.raises(InputUnreadableError, match="more than 5000 files or 64,000,000 bytes"):
        read_bundle(path)


def rewritten(path: Path, files: dict[str, bytes]) -> None:
    """Put other content into a bundle, with the digests that fit."""
    with zipfile.ZipFile(path) as archive:
        kept = {name: archive.read(name) for name in archive.namelist()} | files
    del kept[".info/CONTENT"]
    content = "\n".join(
        f"{name},{hashlib.sha256(data).hexdigest()},{8 * len(data)}" for name, data in kept.items()
    )
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**kept, ".info/CONTENT": content.encode()}.items():
            archive.writestr(name, data)
