"""The import rules of the architecture hold, read from the source of every module."""

import ast
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
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
    """Full names of what a module imports, lazily and for types only included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = path.relative_to(ROOT).parts[: -node.level] if node.level else ()
            module = ".".join([*parents, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)
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


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def graph() -> Mapping[str, set[str]]:
    """Modules of ours, and those of ours that each imports."""
    names = {name_of(path) for path in modules()}
    found: dict[str, set[str]] = {}
    for path in modules():
        own = name_of(path)
        reached = {name for name in imports(path) if name in names}
        # `from a import b` names the package too, of which nothing is used if b is a module.
        used = {
            name for name in reached
            if not any(other.startswith(f"{name}.") for other in reached)
            or not (ROOT / Path(*name.split(".")) / "__init__.py").exists()
        }  # fmt: skip
        found[own] = used - {own}
    return found


def circle(of: Mapping[str, set[str]]) -> list[str]:
    """A circle; empty if there is none."""
    try:
        TopologicalSorter(of).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_module_imports_what_imports_it() -> None:
    assert len(graph()) > 200
    assert circle({"a": {"b"}, "b": {"a"}})
    assert circle(graph()) == []


#: Folders whose subfolders are parts of one thing: counted as one.
WHOLE = ("shared.dicom", "shared.phantom")
#: What puts the rooms of a side together stands above them.
ABOVE = ("client.app", "server.app", "shared.cli")


def room(module: str) -> str:
    """The folder of a module; a loose module is its own room."""
    for whole in WHOLE:
        if module == whole or module.startswith(f"{whole}."):
            return whole
    parts = module.split(".")
    package = (ROOT / Path(*parts) / "__init__.py").exists()
    return module if package or len(parts) == 2 else ".".join(parts[:-1])


def test_folders_need_each_other_in_one_direction() -> None:
    rooms: dict[str, set[str]] = defaultdict(set)
    for module, used in graph().items():
        rooms[room(module)] |= {room(one) for one in used} - {room(module), *ABOVE}
    assert circle(rooms) == []


def test_a_folder_can_be_taken_in_at_a_glance() -> None:
    counted = Counter(path.parent for path in modules() if path.name != "__init__.py")
    assert {str(folder): n for folder, n in counted.items() if n > 15} == {}


def test_a_public_class_name_has_one_meaning() -> None:
    where: dict[str, list[str]] = defaultdict(list)
    for path in modules():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                where[node.name].append(name_of(path))
    assert {name: places for name, places in where.items() if len(places) > 1} == {}


def test_a_modules_name_says_what_is_in_it() -> None:
    bare = {"words", "utils", "helpers", "misc"}
    assert {path for path in modules() if path.stem in bare} == set()


def test_tests_stand_where_what_they_test_stands() -> None:
    for package in PACKAGES:
        for folder in (ROOT / "tests" / package).rglob("test_*.py"):
            mirrored = folder.parent.relative_to(ROOT / "tests")
            assert (ROOT / mirrored).is_dir(), f"{folder}: there is no {mirrored}"
