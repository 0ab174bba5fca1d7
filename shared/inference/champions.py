"""Finding the versions that answer: MLflow's alias ``champion``, or a folder of weights files.

A registered model is named after its task. Its version holds the weights as
safetensors, which is what is read here; no pickle and no code is loaded.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from json import JSONDecodeError
from pathlib import Path
from typing import TYPE_CHECKING

from shared.errors import (
    ModelIncompatibleError,
    NoChampionError,
    RegistryUnavailableError,
)
from shared.inference.fitness import RECORDED
from shared.inference.registry_file import (
    SQLITE,
    as_tracking_uri,
    stored_versions,
)
from shared.inference.schema import ModelFacts
from shared.inference.trust.origin import passport_beside, verify_origin
from shared.protocol.passport import FILE as PASSPORT
from shared.runtime.registry_trouble import registry_trouble
from shared.training.weights import Weights, digest_arrays, load_weights

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

ALIAS = "champion"
REGISTRY_VARIABLE = "OSTEOFED_REGISTRY"

#: MLflow's codes for "there is no such thing" (all else: it cannot be reached).
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND")


@dataclass(frozen=True)
class Champion:
    """Weights that answer for one task, and what is known of them."""

    weights: Weights
    facts: ModelFacts


@dataclass(frozen=True)
class Champions:
    """The champions that were found, and for each task without one the reason."""

    found: Mapping[str, Champion]
    missing: Mapping[str, NoChampionError]


def load_champions(
    tasks: Iterable[str],
    registry: str | None = None,
    models: Path | None = None,
    trust: str | None = None,
) -> Champions:
    """Load one version for every task that has one.

    Parameters
    ----------
    tasks : iterable of str
        Task names.
    registry : str, optional
        MLflow tracking URI, the path of its SQLite file, or the workspace that holds that
        file; the environment
        variable ``OSTEOFED_REGISTRY`` where neither this nor `models` is given.
    models : Path, optional
        Folder of ``<task>.safetensors``; wins over the registry.
    trust : str, optional
        Public key of the coordinator, from neither of them (`shared.inference.trust.origin`);
        without it nothing is known of where a version comes from, and its facts say so.

    Raises
    ------
    NoChampionError
        If no task has any; the sentence says where was looked and how to make one.
    RegistryUnavailableError
        If the registry does not answer, or what it answers cannot be read.
    ModelIncompatibleError
        If a file is damaged or belongs to another task.
    PassportInvalidError
        If one version is not what the key of `trust` signed: then nothing is read.
    """
    found: dict[str, Champion] = {}
    missing: dict[str, NoChampionError] = {}
    for task in tasks:
        try:
            found[task] = _champion_of(task, registry, models, trust)
        except NoChampionError as error:
            missing[task] = error
    if missing and not found:
        raise next(iter(missing.values()))
    return Champions(found, missing)


def _champion_of(
    task: str, registry: str | None, models: Path | None, trust: str | None
) -> Champion:
    if models is not None:
        return _from_folder(task, models, trust)
    uri = registry or os.environ.get(REGISTRY_VARIABLE)
    if not uri:
        raise NoChampionError(
            f"{task}: no champion, because neither a registry nor a folder was named "
            f"(give --registry URI or --models DIR, or set {REGISTRY_VARIABLE})"
        )
    uri = as_tracking_uri(uri)
    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).is_file():
        # MLflow would make an empty database there and then find nothing in it.
        raise _nobody(task, f"{uri} (there is no such file)")
    return _from_file(task, uri, trust) or _from_registry(task, uri, trust)


def champion_mark(task: str, registry: str | None, models: Path | None) -> str:
    """Say which version is champion without loading it; empty if none is.

    Two marks differ if the champion may have changed. In a folder they are the times and sizes of
    weights, passport and card.

    Raises
    ------
    RegistryUnavailableError
        If the registry does not answer.
    """
    if models is not None:
        names = (f"{task}.safetensors", f"{task}.{PASSPORT}", f"{task}.card.json")
        found = [(name, models / name) for name in names if (models / name).is_file()]
        states = [(name, path.stat()) for name, path in found]
        return " ".join(f"{name}:{one.st_mtime_ns}:{one.st_size}" for name, one in states)
    uri = registry or os.environ.get(REGISTRY_VARIABLE)
    if not uri:
        return ""
    uri = as_tracking_uri(uri)
    stored = stored_versions(uri, task)
    if stored is not None:
        return " ".join(str(one.version) for one in stored if ALIAS in one.aliases)
    return _version_of_alias(task, uri)


def shown_uri(uri: str) -> str:
    """Hide a password inside a URI; reports and errors show it."""
    return re.sub(r"(://[^/@:]*):[^@/]*@", r"\1:***@", uri)


def _nobody(task: str, where: str, has_versions: bool = False) -> NoChampionError:
    if has_versions:
        return NoChampionError(
            f"{task}: {where} holds versions, but none was promoted to {ALIAS!r}; see why with "
            "`osteofed server versions`, or name a folder of weights with --models"
        )
    return NoChampionError(
        f"{task}: no version has the alias {ALIAS!r} in {where}; make one with "
        "`osteofed server run configs/federation.yaml`, or name a folder of weights with --models"
    )


def _champion(task: str, path: Path, version: str, source: str, trust: str | None) -> Champion:
    """Read a version's weights, and hold them against the key if one is known."""
    weights = load_weights(path)
    if weights.settings.task != task:
        raise ModelIncompatibleError(
            f"{source}: holds weights of {weights.settings.task} (must be {task})"
        )
    if trust is not None:
        name = (
            f"{task} ({source})" if version == "file" else f"{task} version {version} in {source}"
        )
        verify_origin(name, weights, passport_beside(path, task), trust)
    facts = ModelFacts(
        task=task,
        version=version,
        digest=digest_arrays(weights.arrays),
        origin=weights.origin,
        source=source,
        verified_with=trust or "",
    )
    return Champion(weights, facts)


def _from_folder(task: str, models: Path, trust: str | None) -> Champion:
    path = models / f"{task}.safetensors"
    if not path.is_file():
        raise NoChampionError(
            f"{task}: no champion, because {path} does not exist; put the weights there "
            "(`osteofed server pretrain` or a federated run makes such files)"
        )
    champion = _champion(task, path, "file", str(path), trust)
    recorded, trouble = _of_card(models / f"{task}.card.json", champion.facts.digest)
    more = {"metrics": _errors(recorded), "record_trouble": trouble}
    return replace(champion, facts=champion.facts.model_copy(update=more))


def _of_card(path: Path, digest: str) -> tuple[dict[str, float], str]:
    """Read the metrics of the model card that is exported beside a version's weights.

    Parameters
    ----------
    path : Path
    digest : str
        SHA-256 of the weights: another version's card says nothing of them.

    Returns
    -------
    metrics : dict of str to float
        Of all sites' validation patients together; empty where there is no card, or where its
        run recorded none.
    trouble : str
        Why a card that is there cannot be used; empty where it can, or where there is none.
    """
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        if card["digest"] != digest:
            return {}, f"its model card ({path.name}) is of other weights"
        found = {} if card["validation"] is None else card["validation"]["metrics"]
        return {str(name): float(one) for name, one in found.items()}, ""
    except FileNotFoundError:
        return {}, ""
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}, f"its model card ({path.name}) cannot be read"


def _from_file(task: str, uri: str, trust: str | None) -> Champion | None:
    """Load a champion without MLflow, where its files lie on this machine.

    None leaves it to MLflow, which also knows what to say of what is missing.
    """
    for stored in stored_versions(uri, task) or ():
        if ALIAS in stored.aliases:
            path = _weights_file(task, stored.folders() or ())
            if path is None:
                return None
            champion = _champion(task, path, str(stored.version), shown_uri(uri), trust)
            facts = champion.facts.model_copy(update={"metrics": _errors(stored.metrics)})
            return replace(champion, facts=facts)
    return None


def _weights_file(task: str, folders: Iterable[Path]) -> Path | None:
    """Find a version's weights: in the first folder that has any, those of the task if named."""
    for folder in folders:
        files = sorted(folder.rglob("*.safetensors"))
        named = [file for file in files if file.stem == task]
        if named or files:
            return (named or files)[0]
    return None


def _from_registry(task: str, uri: str, trust: str | None) -> Champion:
    """Load the champion of a task out of MLflow."""
    from mlflow import MlflowClient

    with _asking(task, uri), tempfile.TemporaryDirectory(prefix="osteofed-") as folder:
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        if not client.search_registered_models(f"name='{task}'"):
            raise _nobody(task, shown_uri(uri))
        version = client.get_model_version_by_alias(task, ALIAS)
        run = _run_of(client, version)
        path = _download(client, version, run, uri, Path(folder))
        if path is None:
            raise ModelIncompatibleError(
                f"{task} version {version.version} in {shown_uri(uri)} holds no weights file "
                "(*.safetensors was expected among its artefacts)"
            )
        champion = _champion(task, path, str(version.version), shown_uri(uri), trust)
        metrics = {} if run is None else _errors(run.data.metrics)
    return replace(champion, facts=champion.facts.model_copy(update={"metrics": metrics}))


@contextlib.contextmanager
def _asking(task: str, uri: str) -> Iterator[None]:
    """Turn what MLflow raises into sentences: nobody is champion, or the registry is away."""
    # A registry that is away must be noticed in seconds, not after MLflow's minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from google.protobuf.json_format import ParseError  # type: ignore[import-untyped]
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with _quietly():
            yield
    except (MlflowException, SQLAlchemyError, JSONDecodeError, ParseError) as error:
        if getattr(error, "error_code", "") in _ABSENT and "Response body:" not in str(error):
            raise _nobody(task, shown_uri(uri), has_versions=True) from None
        raise RegistryUnavailableError(
            f"{shown_uri(uri)}: the registry cannot be used: {registry_trouble(error)}"
        ) from None


def _version_of_alias(task: str, uri: str) -> str:
    """Ask MLflow which version is champion; empty if none is."""
    from mlflow import MlflowClient

    with contextlib.suppress(NoChampionError), _asking(task, uri):
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        return str(client.get_model_version_by_alias(task, ALIAS).version)
    return ""


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep MLflow's own remarks (migrations, deprecations inside it) off the screen."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _run_of(client: MlflowClient, version: ModelVersion) -> Run | None:
    """Give a version's run; None where it names none, or one that the registry has not.

    Any other answer, also one that cannot be read, is an error: what the run recorded is then
    unknown, and not "nothing".
    """
    from mlflow.exceptions import MlflowException

    if not version.run_id:
        return None
    try:
        return client.get_run(version.run_id)
    except MlflowException as error:
        # MLflow gives the same code to a page that says 404 and is none of the registry's.
        if error.error_code != "RESOURCE_DOES_NOT_EXIST" or "Response body:" in str(error):
            raise
        return None


def _download(
    client: MlflowClient, version: ModelVersion, run: Run | None, uri: str, folder: Path
) -> Path | None:
    """Fetch a version's weights file: from the model itself, else from its run."""
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    # Never by ``models:/…``: MLflow resolves that by its process-wide default registry,
    # whatever URI it is given, and makes an empty database in the working folder.
    sources = [client.get_model_version_download_uri(version.name, version.version)]
    if run is not None:
        sources.append(f"{run.info.artifact_uri}")
    for number, source in enumerate(sources):
        place = folder / str(number)
        place.mkdir()
        try:
            got = download_artifacts(
                artifact_uri=source, dst_path=str(place), tracking_uri=uri, registry_uri=uri
            )
        except (MlflowException, OSError):
            continue  # an older version may keep its files in one place only
        file = _weights_file(version.name, [Path(got)])
        if file is not None:
            return file
    return None


def _errors(logged: Mapping[str, float]) -> dict[str, float]:
    """Keep what is judged by, of all sites together (`shared.inference.fitness.RECORDED`)."""
    found: dict[str, float] = {}
    for name, value in sorted(logged.items()):
        short = name.rsplit("/", 1)[-1]
        pooled = name == short or name.startswith(("global/", "all/"))
        if short.startswith(RECORDED) and pooled:
            found[short] = round(float(value), 4)
    return found
