"""How one task is trained: ``configs/tasks/<task>.yaml``."""

from __future__ import annotations

import math
from operator import not_
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator

from shared.settings.base import LEAST_MODERATE, Count, Moderate, SampleRate, Settings, Side


class NetworkSettings(Settings):
    """Which network, how large.

    `size` is ``small`` (minutes on two cores) or ``published`` (the size of the
    literature); `image_size` is the tensor height and width in pixels, at
    most 4096 each. With `patient_facts` a task that can is also given age, sex and body
    mass index, with `age_and_sex` only these two; the others leave it without effect.
    """

    size: Literal["small", "published"] = "small"
    image_size: tuple[Side, Side] | None = None
    patient_facts: bool = Field(default=False, exclude_if=not_)
    age_and_sex: bool = Field(default=False, exclude_if=not_)


class OptimiserSettings(Settings):
    """One way to train: which weights, how many steps, how fast.

    `schedule` says what becomes of the learning rate over all steps of all rounds of a
    run (or of one pretraining): it stays, or falls along half a cosine. In every round it
    rises over the first `warm_up_steps`: Adam begins anew with each round, and its first
    steps are as long as the rate, whatever the gradient is.

    With `worst_first` q above 0 what is made small is the mean of loss^(1+q)/(1+q) over
    patients (q-FFL, Li et al. 2020, with patients in the place of devices): a patient's
    gradient counts loss^q times as much. It needs no knowledge of groups, and a patient's
    part depends on that patient alone, so it costs no privacy.
    """

    trainable: Literal["all", "head", "norms_and_head"] = "all"
    optimiser: Literal["sgd", "adam"] = "adam"
    learning_rate: Moderate = 1e-3
    schedule: Literal["constant", "cosine"] = "constant"
    warm_up_steps: Annotated[int, Field(ge=0)] = 0
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    batch_patients: Count = 16
    steps_per_round: Count = 20
    augment: bool = True
    worst_first: Annotated[float, Field(ge=0, le=5)] = 0.0


class PrivateSettings(OptimiserSettings):
    """DP-SGD: what is part of the guarantee, besides the above.

    `sample_rate` is the probability with which each patient is drawn into a
    step; `batch_patients` is unused (the batch is what Poisson sampling draws).

    `full_rate_noise` is how far the noise may move a trained weight over a whole run at rate
    1, one standard deviation (σ·C/(q·N)·√T with T steps in all rounds), for the whole
    learning rate to be used. Where it moves further, with few patients or a small ε, the
    rate is as much lower: noise then moves the weights no further than where the rate was
    chosen. None: never lower.
    """

    trainable: Literal["all", "head", "norms_and_head"] = "norms_and_head"
    optimiser: Literal["sgd", "adam"] = "sgd"
    sample_rate: SampleRate = 1.0
    max_grad_norm: Moderate = 1.0
    full_rate_noise: Moderate | None = None

    @field_validator("full_rate_noise")
    @classmethod
    def _only_steps_that_follow_the_gradient(
        cls, value: float | None, known: ValidationInfo
    ) -> float | None:
        if value is not None and known.data.get("optimiser", "sgd") != "sgd":
            raise ValueError(
                f"needs optimiser sgd, not {known.data['optimiser']}, whose steps do not follow "
                "how large the noise is"
            )
        return value

    def slowed_by_noise(self, noise_multiplier: float, patients: int, rounds: int) -> Self:
        """Lower the learning rate where the noise is larger than that for which it was chosen.

        What it follows from is public in the guarantee, so it costs no privacy.

        Parameters
        ----------
        noise_multiplier : float
            σ.
        patients : int
            N, by which the sum is divided.
        rounds : int
            Of the whole run.
        """
        noise = noise_multiplier * self.max_grad_norm / (self.sample_rate * max(patients, 1))
        noise *= math.sqrt(rounds * self.steps_per_round)
        if self.full_rate_noise is None or noise <= self.full_rate_noise:
            return self
        rate = self.learning_rate * self.full_rate_noise / noise
        # Steps below what float32 can tell apart would be nothing but rounding.
        return self.model_copy(update={"learning_rate": max(rate, LEAST_MODERATE)})


class PretrainSettings(OptimiserSettings):
    """Training on digital patients of a generic scanner, which costs no privacy."""

    patients: Count = 200
    steps_per_round: Count = 400
    schedule: Literal["constant", "cosine"] = "cosine"


class TaskSettings(Settings):
    """``configs/tasks/<task>.yaml``."""

    task: str
    network: NetworkSettings = NetworkSettings()
    plain: OptimiserSettings = OptimiserSettings()
    private: PrivateSettings = PrivateSettings()
    pretrain: PretrainSettings = PretrainSettings()
