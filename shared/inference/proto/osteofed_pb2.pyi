from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PredictRequest(_message.Message):
    __slots__ = ("options", "file")
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    options: PredictOptions
    file: FilePart
    def __init__(self, options: _Optional[_Union[PredictOptions, _Mapping]] = ..., file: _Optional[_Union[FilePart, _Mapping]] = ...) -> None: ...

class PredictOptions(_message.Message):
    __slots__ = ("models", "report")
    class ModelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    MODELS_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    models: _containers.ScalarMap[str, str]
    report: bool
    def __init__(self, models: _Optional[_Mapping[str, str]] = ..., report: _Optional[bool] = ...) -> None: ...

class FilePart(_message.Message):
    __slots__ = ("content", "last")
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    content: bytes
    last: bool
    def __init__(self, content: _Optional[bytes] = ..., last: _Optional[bool] = ...) -> None: ...

class PredictResponse(_message.Message):
    __slots__ = ("request_id", "progress", "result", "report")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    progress: Progress
    result: StudyResult
    report: ReportPart
    def __init__(self, request_id: _Optional[str] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., result: _Optional[_Union[StudyResult, _Mapping]] = ..., report: _Optional[_Union[ReportPart, _Mapping]] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("stage", "files", "bytes")
    class Stage(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STAGE_UNSPECIFIED: _ClassVar[Progress.Stage]
        RECEIVED: _ClassVar[Progress.Stage]
        READING_FILES: _ClassVar[Progress.Stage]
        RUNNING_NETWORKS: _ClassVar[Progress.Stage]
    STAGE_UNSPECIFIED: Progress.Stage
    RECEIVED: Progress.Stage
    READING_FILES: Progress.Stage
    RUNNING_NETWORKS: Progress.Stage
    STAGE_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    stage: Progress.Stage
    files: int
    bytes: int
    def __init__(self, stage: _Optional[_Union[Progress.Stage, str]] = ..., files: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class StudyResult(_message.Message):
    __slots__ = ("models", "measurements", "grades", "not_assessed", "not_used", "prediction_json")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    MEASUREMENTS_FIELD_NUMBER: _ClassVar[int]
    GRADES_FIELD_NUMBER: _ClassVar[int]
    NOT_ASSESSED_FIELD_NUMBER: _ClassVar[int]
    NOT_USED_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_JSON_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    measurements: _containers.RepeatedCompositeFieldContainer[Measurement]
    grades: _containers.RepeatedCompositeFieldContainer[Grade]
    not_assessed: _containers.RepeatedCompositeFieldContainer[NotAssessed]
    not_used: _containers.RepeatedScalarFieldContainer[str]
    prediction_json: str
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ..., measurements: _Optional[_Iterable[_Union[Measurement, _Mapping]]] = ..., grades: _Optional[_Iterable[_Union[Grade, _Mapping]]] = ..., not_assessed: _Optional[_Iterable[_Union[NotAssessed, _Mapping]]] = ..., not_used: _Optional[_Iterable[str]] = ..., prediction_json: _Optional[str] = ...) -> None: ...

class ReportPart(_message.Message):
    __slots__ = ("content",)
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    content: bytes
    def __init__(self, content: _Optional[bytes] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("task", "version", "digest", "origin", "verified_with")
    TASK_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    VERIFIED_WITH_FIELD_NUMBER: _ClassVar[int]
    task: str
    version: str
    digest: str
    origin: str
    verified_with: str
    def __init__(self, task: _Optional[str] = ..., version: _Optional[str] = ..., digest: _Optional[str] = ..., origin: _Optional[str] = ..., verified_with: _Optional[str] = ...) -> None: ...

class Score(_message.Message):
    __slots__ = ("value", "reference", "verified")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    VERIFIED_FIELD_NUMBER: _ClassVar[int]
    value: float
    reference: str
    verified: bool
    def __init__(self, value: _Optional[float] = ..., reference: _Optional[str] = ..., verified: _Optional[bool] = ...) -> None: ...

class Measurement(_message.Message):
    __slots__ = ("task", "quantity", "region", "value", "unit", "scale", "standardised", "t_score", "z_score", "bone_class", "reported", "difference", "not_scored")
    TASK_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    STANDARDISED_FIELD_NUMBER: _ClassVar[int]
    T_SCORE_FIELD_NUMBER: _ClassVar[int]
    Z_SCORE_FIELD_NUMBER: _ClassVar[int]
    BONE_CLASS_FIELD_NUMBER: _ClassVar[int]
    REPORTED_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    NOT_SCORED_FIELD_NUMBER: _ClassVar[int]
    task: str
    quantity: str
    region: str
    value: float
    unit: str
    scale: str
    standardised: float
    t_score: Score
    z_score: Score
    bone_class: str
    reported: float
    difference: float
    not_scored: str
    def __init__(self, task: _Optional[str] = ..., quantity: _Optional[str] = ..., region: _Optional[str] = ..., value: _Optional[float] = ..., unit: _Optional[str] = ..., scale: _Optional[str] = ..., standardised: _Optional[float] = ..., t_score: _Optional[_Union[Score, _Mapping]] = ..., z_score: _Optional[_Union[Score, _Mapping]] = ..., bone_class: _Optional[str] = ..., reported: _Optional[float] = ..., difference: _Optional[float] = ..., not_scored: _Optional[str] = ...) -> None: ...

class Grade(_message.Message):
    __slots__ = ("task", "quantity", "region", "grade", "word", "probabilities", "suspicion", "reported")
    TASK_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    GRADE_FIELD_NUMBER: _ClassVar[int]
    WORD_FIELD_NUMBER: _ClassVar[int]
    PROBABILITIES_FIELD_NUMBER: _ClassVar[int]
    SUSPICION_FIELD_NUMBER: _ClassVar[int]
    REPORTED_FIELD_NUMBER: _ClassVar[int]
    task: str
    quantity: str
    region: str
    grade: int
    word: str
    probabilities: _containers.RepeatedScalarFieldContainer[float]
    suspicion: float
    reported: int
    def __init__(self, task: _Optional[str] = ..., quantity: _Optional[str] = ..., region: _Optional[str] = ..., grade: _Optional[int] = ..., word: _Optional[str] = ..., probabilities: _Optional[_Iterable[float]] = ..., suspicion: _Optional[float] = ..., reported: _Optional[int] = ...) -> None: ...

class NotAssessed(_message.Message):
    __slots__ = ("what", "why")
    WHAT_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    what: str
    why: str
    def __init__(self, what: _Optional[str] = ..., why: _Optional[str] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("number", "models", "missing", "kept_because", "waiting")
    class MissingEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    KEPT_BECAUSE_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    number: int
    models: _containers.RepeatedCompositeFieldContainer[Model]
    missing: _containers.ScalarMap[str, str]
    kept_because: str
    waiting: int
    def __init__(self, number: _Optional[int] = ..., models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ..., missing: _Optional[_Mapping[str, str]] = ..., kept_because: _Optional[str] = ..., waiting: _Optional[int] = ...) -> None: ...
