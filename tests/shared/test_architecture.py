"""The import rules of the architecture hold, read from the source of every module."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("server", "client", "shared")
FORBIDDEN = {
    "shared": {"server", "client"},
    "server": {"client"},
    "client": {"server", "mlflow"},
}


def modules() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Full names of what a module imports, lazily imported ones included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
            yield from (str(a.value) for a in node.args if isinstance(a, ast.Constant))


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_room_imports_only_what_it_may(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    tops = {name.split(".")[0] for name in imports(path)}
    assert not tops & FORBIDDEN[room], f"{path} imports {tops & FORBIDDEN[room]}"


def test_monai_is_imported_in_one_place() -> None:
    """Which loads it without every optional package that it would look for."""
    for path in modules():
        if path.name != "monai_parts.py":
            assert "monai" not in {name.split(".")[0] for name in imports(path)}, path


def test_networks_load_neither_mlflow_nor_pandas_and_hide_nothing() -> None:
    program = (
        "import sys, shared.networks.densenet, shared.tasks.augmentation;"
        "assert not {'mlflow', 'pandas', 'matplotlib'} & set(sys.modules), 'loaded';"
        "import pandas, matplotlib"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_clinical_and_metrics_import_nothing_of_ours_but_names_and_errors() -> None:
    allowed = {"shared.errors", "shared.regions", "shared.records", "shared.clinical"}
    for path in modules():
        parts = path.relative_to(ROOT).parts
        if parts[:2] not in {("shared", "clinical"), ("shared", "metrics")}:
            continue
        ours = {n for n in imports(path) if n.split(".")[0] in PACKAGES and n != "shared"}
        wrong = {n for n in ours if not any(n == a or n.startswith(a + ".") for a in allowed)}
        wrong = {n for n in wrong if not n.startswith("shared.metrics")}
        assert not wrong, f"{path} imports {wrong}"


def test_the_server_touches_no_pixels() -> None:
    for path in (ROOT / "server").rglob("*.py"):
        wrong = {n for n in imports(path) if n.startswith(("pydicom", "highdicom", "shared.dicom"))}
        assert not wrong, f"{path} imports {wrong}"


def test_nothing_is_pickled() -> None:
    for path in modules():
        names = {name.split(".")[0] for name in imports(path)}
        assert not names & {"pickle", "cloudpickle", "dill", "joblib", "shelve"}, path
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
                assert keywords.get("weights_only") == "True", path


def test_a_class_path_is_never_read_from_settings() -> None:
    """Tasks come from an explicit list; no module turns a string into an import."""
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
                constant = all(isinstance(a, ast.Constant) for a in node.args)
                assert constant, f"{path}: import_module on something that is not a constant"
