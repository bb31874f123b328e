"""What is trained: studies, each a task with its budget, times losses, variants of the relative term, and seeds."""

import zlib
from dataclasses import dataclass, field
from typing import Any

import yaml

from ragdist.config import cli

# The relative term's variants. Where nothing is said: relative, p = 1, lambda = 1, which are the trainer's defaults.
VARIANTS: dict[str, dict[str, Any]] = {
    "λ = 0": {"objective.lam": 0.0},
    "literal": {"objective.pairing": "random", "objective.relative": False, "objective.p": 2},
    "cover": {},
    "cover, λ = 10, p = 2": {"objective.lam": 10.0, "objective.p": 2},
    "cover, not relative": {"objective.relative": False},
    "nearest": {"objective.pairing": "nearest"},
    "assignment": {"objective.pairing": "assignment"},
    "all": {"objective.pairing": "all"},
    "cover, in D's features": {"objective.space": "feature"},
}
DEFAULT, NONE = "cover", "λ = 0"

# The adversarial losses; penalties belong to the first alone, as in R3GAN and in the trainer's defaults.
LOSSES: dict[str, dict[str, Any]] = {
    "relativistic": {"objective.adversarial": "relativistic"},
    "nonsaturating": {"objective.adversarial": "nonsaturating", "objective.r1": 0.0, "objective.r2": 0.0},
    "original": {"objective.adversarial": "original", "objective.r1": 0.0, "objective.r2": 0.0},
}


@dataclass(frozen=True)
class Study:
    """A task, and the losses, variants and rates that are trained on it."""

    name: str
    task: str  # toy:grid, toy:ring, stacked, digits, photographs, speech, text or routes
    updates: int
    options: dict[str, Any] = field(default_factory=dict)
    share: float = 1.0  # of the training data
    cells: tuple[tuple[str, str], ...] = ()
    rates: tuple[float, ...] = (1.0,)  # factors of both learning rates
    judged: int = 6  # times, evenly from the middle of the training to its end

    @property
    def looks(self) -> list[int]:
        """Updates after which the EMA generator is judged."""
        return [round(self.updates * (1 + i / max(self.judged - 1, 1)) / 2) for i in range(self.judged - 1)] + [
            self.updates
        ]


def _preset(name: str) -> dict[str, Any]:
    """What a preset says of networks, objective, rates and batch, {"objective.lam": 1.0, ...}."""
    content = yaml.safe_load((cli.PRESETS / f"{name}.yaml").read_text())
    groups = {group: content.get(group, {}) for group in ("network", "objective", "optim")}
    found = {f"{group}.{option}": value for group, options in groups.items() for option, value in options.items()}
    return found | {"batch_size": content["batch_size"]}


def _budget(samples: int, options: dict[str, Any]) -> int:
    """The number of updates in which so many samples are seen."""
    return samples // options["batch_size"]


_EVERYTHING = tuple((loss, variant) for loss in LOSSES for variant in VARIANTS if variant != "cover, in D's features")
_MAIN = tuple((loss, variant) for loss in LOSSES for variant in (NONE, "literal", DEFAULT, "cover, λ = 10, p = 2"))
_STRONG = ("relativistic", "nonsaturating")
_BASE = (NONE, "literal", DEFAULT)
_SHORT = tuple((loss, variant) for loss in _STRONG for variant in (NONE, DEFAULT, "cover, λ = 10, p = 2"))
_PAIRS = tuple((loss, variant) for loss in _STRONG for variant in (NONE, DEFAULT))
_STACKED_CELLS = (
    *((loss, variant) for loss in _STRONG for variant in (NONE, "literal", DEFAULT, "assignment")),
    *(("original", variant) for variant in (NONE, "literal", DEFAULT)),
)
_PLANE = {"network.family": "mlp", "network.z_dim": 2, "network.g_width": 128, "network.d_width": 128,
          "batch_size": 100,
          "objective.group": 50, "objective.r1": 0.004, "objective.r2": 0.004, "optim.g_lr": 1e-3, "optim.d_lr": 1e-3,
          "optim.lr_schedule": "linear", "optim.lr_samples": 300_000}  # fmt: skip
_STACKED = {"network.family": "mlp", "network.g_width": 256, "network.d_width": 256, "optim.g_lr": 5e-4,
            "optim.d_lr": 5e-4}  # fmt: skip
_DIGITS = {"network.family": "mlp", "network.g_width": 256, "network.d_width": 256, "objective.r1": 1.0,
           "objective.r2": 1.0, "optim.g_lr": 5e-4, "optim.d_lr": 5e-4}  # fmt: skip
_PHOTOGRAPHS = {"network.family": "dcgan", "network.g_width": 32, "network.d_width": 32, "network.max_width": 128,
                "objective.r1": 1.0, "objective.r2": 1.0, "optim.g_lr": 5e-4, "optim.d_lr": 5e-4}  # fmt: skip
# Measured with one pairing group a batch, as these presets had it.
_SPEECH = _preset("speech") | {"objective.group": 64}
_TEXT = _preset("text") | {"objective.group": 64}
_SPOKEN = tuple(("relativistic", variant) for variant in (NONE, DEFAULT, "cover, in D's features"))
# A continuous generator passes between routes, which a discrete latent spares; the penalties are weak, as in the plane.
_ROUTES = {"network.family": "mlp", "network.z_dim": 32, "network.codes": 160, "network.g_width": 256,
           "network.d_width": 256, "batch_size": 128,
           "objective.group": 64, "objective.r1": 0.01, "objective.r2": 0.01, "optim.g_lr": 1e-3, "optim.d_lr": 1e-3,
           "optim.lr_schedule": "linear", "optim.lr_samples": 1_024_000, "optim.ema_samples": 10_000}  # fmt: skip
_ROUTES_CELLS = (("relativistic", NONE), ("relativistic", DEFAULT))

STUDIES = {
    study.name: study
    for study in (
        Study("stacked", "stacked", 3_000, _STACKED, cells=_STACKED_CELLS, judged=2),
        Study("digits, 10%", "digits", 3_000, _DIGITS, share=0.1, cells=_MAIN),
        Study("digits, 20%", "digits", 3_000, _DIGITS, share=0.2, cells=_SHORT),
        Study("digits, 100%", "digits", 3_000, _DIGITS, share=1.0, cells=_SHORT),
        Study("grid", "toy:grid", 3_000, _PLANE, cells=_EVERYTHING),
        Study("rates", "stacked", 3_000, _STACKED, cells=_PAIRS, rates=(1 / 8, 8.0), judged=2),
        Study("ring", "toy:ring", 3_000, _PLANE, cells=tuple((loss, variant) for loss in LOSSES for variant in _BASE)),
        Study("photographs, 10%", "photographs", 1_500, _PHOTOGRAPHS, share=0.1, cells=_PAIRS, judged=3),
        Study("photographs, 20%", "photographs", 1_500, _PHOTOGRAPHS, share=0.2, cells=_PAIRS[:2], judged=3),
        Study("photographs, 100%", "photographs", 1_500, _PHOTOGRAPHS, share=1.0, cells=_PAIRS[:2], judged=3),
        Study("speech", "speech", _budget(12_800, _SPEECH), _SPEECH, cells=_SPOKEN, judged=2),
        Study("text", "text", _budget(64_000, _TEXT), _TEXT, cells=_SPOKEN, judged=2),
        Study("routes", "routes", 8_000, _ROUTES, cells=_ROUTES_CELLS, judged=2),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One training: a study, a loss, a variant of the relative term, a factor of the rates, a seed."""

    study: str
    loss: str
    variant: str
    rate: float
    seed: int

    def options(self) -> dict[str, Any]:
        """Options that differ from the trainer's defaults, {"objective.lam": 0.0, ...}."""
        study = STUDIES[self.study]
        found = {**study.options, **LOSSES[self.loss], **VARIANTS[self.variant]}
        for name in ("optim.g_lr", "optim.d_lr"):
            found[name] *= self.rate
        return found

    def fingerprint(self) -> int:
        """A hash of all that decides the training beside code and data: results with another one are trained anew."""
        study = STUDIES[self.study]
        return zlib.crc32(repr((sorted(self.options().items()), study.task, study.updates, study.share)).encode())


def cells(names: list[str], seeds: int) -> list[Cell]:
    """All trainings of these studies, one seed of everything before the next."""
    return [
        Cell(name, loss, variant, rate, seed)
        for seed in range(seeds)
        for name in names
        for loss, variant in STUDIES[name].cells
        for rate in STUDIES[name].rates
    ]
