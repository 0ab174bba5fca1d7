"""Findings and versions as protobuf; every number as it stands in ``prediction.json``."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from shared.findings.facts import Score as ScoreFact
from shared.inference.proto import osteofed_pb2 as pb

if TYPE_CHECKING:
    from shared.findings.facts import Grade, Measurement
    from shared.inference.runtime.runtime import InferenceRuntime
    from shared.inference.runtime.study_reading import ReadStudyAnswer
    from shared.inference.schema import ModelFacts


def result_of(answer: ReadStudyAnswer) -> pb.StudyResult:
    """Make the result of one study; files that were not used are counted, never named."""
    prediction = answer.prediction
    unused = Counter(one.sentence for one in answer.not_taken)
    return pb.StudyResult(
        models=[_model(one) for one in prediction.models],
        measurements=[_measurement(one) for one in prediction.measurements],
        grades=[_grade(one) for one in prediction.grades],
        not_assessed=[
            pb.NotAssessed(what=one.what, why=one.why) for one in prediction.not_assessed
        ],
        not_used=[f"{number} × {why}" for why, number in sorted(unused.items())],
        prediction_json=prediction.model_dump_json(by_alias=True),
    )


def models_of(runtime: InferenceRuntime) -> pb.ListModelsResponse:
    """Say which versions are held."""
    held = runtime.current
    return pb.ListModelsResponse(
        number=held.number,
        models=[_model(one) for one in held.facts()],
        missing={task: str(error) for task, error in held.missing.items()},
        kept_because=runtime.kept_because,
        waiting=runtime.waiting,
    )


def _model(facts: ModelFacts) -> pb.Model:
    return pb.Model(
        task=facts.task,
        version=facts.version,
        digest=facts.digest,
        origin=facts.origin,
        verified_with=facts.verified_with,
    )


def _score(score: ScoreFact | None) -> pb.Score | None:
    if score is None:
        return None
    return pb.Score(value=score.value, reference=score.reference, verified=score.verified)


def _measurement(found: Measurement) -> pb.Measurement:
    return pb.Measurement(
        task=found.task,
        quantity=found.quantity,
        region=found.region,
        value=found.value,
        unit=found.unit,
        scale=found.scale,
        standardised=found.standardised,
        t_score=_score(found.t_score),
        z_score=_score(found.z_score),
        bone_class=found.bone_class,
        reported=found.reported,
        difference=found.difference,
        not_scored=found.not_scored,
    )


def _grade(found: Grade) -> pb.Grade:
    return pb.Grade(
        task=found.task,
        quantity=found.quantity,
        region=found.region,
        grade=found.grade,
        word=found.word,
        probabilities=found.probabilities,
        suspicion=found.suspicion,
        reported=found.reported,
    )
