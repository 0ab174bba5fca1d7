"""Typed settings: three YAML files, each with its owner.

``federation.yaml`` is the consortium's agreement, ``site.yaml`` one hospital's
own settings and limits (it never leaves the hospital), ``tasks/<task>.yaml`` the
hyper-parameters of one trainable task (`shared.settings.task`). An unknown key is an
error that names the file, the key and what would be right.
"""

from __future__ import annotations

from operator import not_
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator

from shared.errors import BudgetInvalidError, ConfigError, ConfigValueError
from shared.runtime.files import appearing
from shared.settings.base import Count, Finite, Fraction, Positive, SampleRate, Settings
from shared.settings.bedside import BedsideSettings
from shared.settings.contract import DataContract, SiteScanner
from shared.settings.declared import DeclaredNumbers
from shared.settings.pacs import PacsSettings, ReadingSettings
from shared.settings.patterns import WORDS, ClassName, Hours, SiteName
from shared.settings.serve import ServeSettings

# --- federation.yaml ---------------------------------------------------------


class PrivacyTarget(Settings):
    """What the consortium asks for, per run. A site may refuse it, never loosen it."""

    mode: Literal["private", "plain"] = "private"
    epsilon_per_run: Positive = 4.0
    delta: Annotated[float, Field(gt=0, lt=0.01)] = 1e-4


class StrategySettings(Settings):
    """A Flower strategy for the arithmetic of aggregation, with its own options.

    `maximum_update_norm` is the L2 norm of what one round may change; a site that sends
    more is rejected. `clip_to_median_norm` draws longer updates in to this many times the
    median norm of the round, whatever the strategy.
    """

    name: Literal[
        "FedAvg", "FedAvgM", "FedAdam", "FedProx", "FedTrimmedAvg", "FedMedian", "Krum",
        "MultiKrum",
    ] = "FedAvg"  # fmt: skip
    options: dict[str, Finite] = Field(default_factory=dict)
    maximum_update_norm: Positive | None = None
    clip_to_median_norm: Positive | None = None


class TaskRun(Settings):
    """One task of a federated run.

    `contract` is what is required of a site's data; where it is left out, what the task itself
    asks for, which keeps no site out.
    `prepare_with` names, by task, the weights of one version whose findings complete the
    studies in which nobody drew what this task needs (`shared.tasks.base.Task.after`).
    """

    settings: Path
    rounds: Count = 5
    start_from: Path | None = None
    strategy: StrategySettings = StrategySettings()
    contract: DataContract | None = None
    prepare_with: dict[str, Path] = Field(default_factory=dict, exclude_if=not_)


class SimulationRuntime(Settings):
    """Every site on this machine, as processes of one run (`server.runtime.simulation`).

    `parallel_sites` train at the same time; None = so many that no core waits for the last
    ones (`server.runtime.simulation.sites_at_once`). Changes the speed, never the result.
    """

    kind: Literal["simulation"] = "simulation"
    sites: tuple[Path, ...] = Field(min_length=1)
    cpus_per_site: Count = 1
    parallel_sites: Count | None = None


class Quorum(Settings):
    """When a round counts, and what becomes of one that does not.

    A round needs answers of `minimum_sites` that claim `minimum_patients` together. It
    is tried `attempts` times, each for `deadline_seconds`; then the run fails, or pauses
    until it is resumed (`on_missing`). A site that claims more than
    `maximum_patients_per_site`, or than its contract says, is rejected. One that failed,
    was late or was rejected in `quarantine_after` rounds running is not asked for
    `quarantine_rounds` rounds. `restarts` is how often a run goes on by itself after
    its runtime was lost.
    """

    minimum_sites: Count = 2
    minimum_patients: Count = 1
    deadline_seconds: Positive = 600.0
    attempts: Count = 2
    on_missing: Literal["fail", "pause"] = "fail"
    maximum_patients_per_site: Count = 10_000
    quarantine_after: Count = 3
    quarantine_rounds: Count = 3
    restarts: Annotated[int, Field(ge=0)] = 3


class RegistrySettings(Settings):
    """MLflow's tracking and model registry."""

    tracking_uri: str | None = None  # None: SQLite inside the workspace
    experiment: str = "osteofed"


class FederationConfig(Settings):
    """``federation.yaml``; relative paths are relative to the file.

    `runtime` says how to simulate; on real nodes it is not used and may be left out.
    `keep_updates` keeps every site's update of every round, so that the passport of a
    version can be recomputed later.
    """

    name: str = "federation"
    seed: int = 1
    workspace: Path
    runtime: SimulationRuntime | None = None
    privacy: PrivacyTarget = PrivacyTarget()
    quorum: Quorum = Quorum()
    registry: RegistrySettings = RegistrySettings()
    register_versions: bool = True
    keep_updates: bool = True
    tasks: tuple[TaskRun, ...] = Field(min_length=1)


# --- site.yaml ---------------------------------------------------------------


class SplitFractions(Settings):
    """How patients are divided; they must sum to one."""

    train: Fraction = 0.7
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.15
    test: Annotated[float, Field(ge=0, le=1)] = 0.15

    @model_validator(mode="after")
    def _sum_to_one(self) -> Self:
        total = self.train + self.validation + self.test
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"train + validation + test is {total:g} (must be 1)")
        return self


def _promises_something(budget: float) -> float:
    if budget > LARGEST_EPSILON_BUDGET:
        raise ValueError(
            f"must be at most {LARGEST_EPSILON_BUDGET:g}: a larger epsilon promises nothing to a "
            "patient, and the noise is not proven for it; lower it"
        )
    return budget


LARGEST_EPSILON_BUDGET: Final = 64.0
EpsilonBudget = Annotated[Positive, AfterValidator(_promises_something)]


class SitePrivacy(Settings):
    """The hospital's own limits. `delta` must not exceed 1/(10·declared patients).

    `epsilon_budget` is at most 64: beyond, the sampler's distance from an ideal Gaussian could
    take more than a hundredth of `delta` (docs/privacy.md), and nothing is promised anyhow.
    `filter` is by which rule the ledger decides, ``gaussian`` (no subsampling) or ``renyi``
    (docs/decisions/0030). It is chosen with the budget, before the first round, and stays; left
    out, it is what the ledger was begun with, else what fits its history.
    `erase_noise_keys`: the noise of every round needs a key of its own besides the site's
    secret, which is erased once the update was kept. Without, all noise follows from the
    secret: copies of a site then give the same bits (experiments, tests), and whoever reads
    the secret later can take the noise off what was sent.
    """

    epsilon_budget: EpsilonBudget = 8.0
    delta: Annotated[float, Field(gt=0, lt=0.01)] = 1e-4
    allow_plain_runs: bool = False
    erase_noise_keys: bool = True
    filter: Literal["gaussian", "renyi"] | None = None


class SitePolicy(Settings):
    """What may run inside this hospital.

    `tasks` are the tasks that may train and be measured here, by name. None is permitted that
    is not named: `osteofed site init` writes down those of its day, and a task that comes with
    a later version stays out until the hospital adds it.
    A private round's noise multiplier must be from `least_noise_multiplier` to
    `largest_noise_multiplier`, its sample rate at least `least_sample_rate`.
    `maximum_memory_gigabytes` (10⁹ bytes) is what one request may take by its settings, and
    `maximum_hours_per_request` how long it may be computed; then it is given up, and what was
    reserved for it stays spent.
    `smallest_cell` is the least number of patients behind any sum that leaves;
    `maximum_evaluations_per_run` how many models are measured for one task and run,
    `maximum_evaluations_per_month` for one task in 30 days over all runs, the models of
    rounds too. `maximum_prepared_gigabytes` is how much disk, in 10⁹ bytes, all that versions of
    other tasks find in the studies may take (`TaskRun.prepare_with`). `hours` is when the
    hospital's machine may work for others, by its own clock. `require_contract` refuses every
    task whose data contract was not checked and kept here.
    """

    tasks: tuple[str, ...] | None = None
    minimum_patients: Count = 20
    maximum_steps_per_round: Count = 2000
    maximum_memory_gigabytes: Positive = 32.0
    maximum_hours_per_request: Positive = 48.0
    least_noise_multiplier: Positive = 0.1
    largest_noise_multiplier: Positive = 10_000.0
    least_sample_rate: SampleRate = 0.001
    release_metrics: bool = True
    smallest_cell: Count = 10
    maximum_evaluations_per_run: Count = 20
    maximum_evaluations_per_month: Count = 400
    maximum_prepared_gigabytes: Positive = 50.0
    require_contract: bool = False
    hours: Hours | None = None


class SiteCompute(Settings):
    """Where and how fast; nothing here can change what privacy is promised.

    With a GPU, `threads` prepare the next batches while it computes. `mixed_precision`
    (bfloat16, on a GPU only) saves memory rather than time (docs/decisions/0015).
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Count = 1
    physical_batch_patients: Count = 16
    mixed_precision: bool = False


class LabelColumns(Settings):
    """Columns of the hospital's CSV exports. Keys are ours, values the hospital's.

    `manufacturer`, which says whose scanner measured, may be missing. `image_class` is read
    where `classes` are named: what a whole study is said to be, in these words alone. `box`,
    `point` and `slice` mark a vertebra: x0, y0, x1, y1, and x, y, in pixels of the image's file,
    and a CT slice by its z in mm or its SOP Instance UID; `image`, which may be missing, says on
    which image or series, by view, file or UID.
    """

    patient_id: str = "Patient ID"
    scan_date: str = "Scan Date"
    region: str = "Region"
    bmd: str = "BMD (g/cm2)"
    vertebra: str = "Vertebra"
    genant: str = "Genant Grade"
    manufacturer: str = "Manufacturer"
    image_class: str = "Class"
    classes: tuple[ClassName, ...] = ()
    box: tuple[str, str, str, str] = ("x0", "y0", "x1", "y1")
    point: tuple[str, str] = ("x", "y")
    slice: str = "Slice Z (mm)"
    image: str = "Image"


class LabelPairing(Settings):
    """How far from a study another visit's BMD may lie to be paired with it, in months.

    Within a year bone changes by less than a DXA scan can tell: 1 to 2 % a year
    (*unverified*), against a least significant change of the spine of 5.3 % (ISCD's least
    technologist precision of 1.9 %, times 2.77).
    """

    months: Annotated[float, Field(ge=0, le=1200)] = 12.0


class ScoreReferences(Settings):
    """With whom T-scores compare where a site may choose.

    `hip` is ``nhanes`` (NHANES III on the Hologic scale, ISCD 2023) or ``scanner``: as the
    scanner's own software has it, where that is known.
    """

    hip: Literal["nhanes", "scanner"] = "nhanes"


class SiteConfig(Settings):
    """``site.yaml``; relative paths are relative to the file.

    `declared` are the public numbers of patients by task, which `osteofed site declare` writes.
    """

    site: SiteName
    store: Path = Path("store")
    ledger: Path = Path("ledger.sqlite")
    secret: Path = Path("secret.key")
    labels: LabelColumns = LabelColumns()
    scores: ScoreReferences = ScoreReferences()
    pairing: LabelPairing = LabelPairing()
    split: SplitFractions = SplitFractions()
    privacy: SitePrivacy = SitePrivacy()
    policy: SitePolicy = SitePolicy()
    compute: SiteCompute = SiteCompute()
    pacs: PacsSettings = PacsSettings()
    reading: ReadingSettings = ReadingSettings()
    bedside: BedsideSettings = BedsideSettings()
    scanners: tuple[SiteScanner, ...] = ()
    declared: dict[str, DeclaredNumbers] = Field(default_factory=dict, exclude_if=not_)
    serve: ServeSettings = ServeSettings()


# --- reading -----------------------------------------------------------------

S = TypeVar("S", bound=Settings)


def load_settings(path: Path, kind: type[S]) -> S:
    """Read a YAML file into typed settings.

    Parameters
    ----------
    path : Path
        The file.
    kind : type
        `FederationConfig`, `SiteConfig` or `TaskSettings`.

    Returns
    -------
    Settings
        Validated and frozen. Relative paths are left as written; see `resolve`.

    Raises
    ------
    ConfigError
        If the file is missing or not YAML.
    ConfigValueError
        If a key is unknown or a value out of range.
    BudgetInvalidError
        If a privacy budget is zero or less.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file (a YAML settings file was expected)") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" at line {where.line + 1}" if where is not None else ""
        raise ConfigError(f"{path}: not valid YAML{line}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: holds {type(data).__name__} (must be a mapping of settings)")
    return parse_settings(data, kind, str(path))


def parse_settings(data: dict[str, Any], kind: type[S], origin: str) -> S:
    """Validate settings that are already a mapping; see `load_settings`."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "(whole file)"
        more = f"; and {error.error_count() - 1} more" if error.error_count() > 1 else ""
        if first["type"] == "extra_forbidden":
            known = ", ".join(_known_keys(kind, first["loc"]))
            raise ConfigValueError(
                f"{origin}: {key}: unknown key (known here: {known}){more}"
            ) from None
        found = "" if first["type"] == "missing" else f" {first['input']!r}"
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "string_pattern_mismatch":
            message = WORDS[first["ctx"]["pattern"]]
        text = f"{origin}: {key}:{found} ({message[0].lower()}{message[1:]}){more}"
        wrong_budget = "epsilon" in key and first["type"] == "greater_than"
        raise (BudgetInvalidError if wrong_budget else ConfigValueError)(text) from None


def _known_keys(kind: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Keys that are known beside an unknown one."""
    model: Any = kind
    for part in location[:-1]:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        nested = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        if not nested:
            return []
        model = nested[0]
    return list(model.model_fields)


def resolve(base: Path, path: Path) -> Path:
    """Make a path of a settings file absolute, relative to the file's folder."""
    return path if path.is_absolute() else (base / path).resolve()


def save_settings(settings: Settings, path: Path) -> None:
    """Write settings as YAML, atomically."""
    text = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    with appearing(path, alone=True) as part:
        part.write_text(text, encoding="utf-8")
