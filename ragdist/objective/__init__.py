"""Losses: adversarial losses, gradient penalties, the relative term. Pure functions of tensors.

No networks, no options, no state.
"""

from ragdist.tools.table import Table

ADVERSARIAL = Table(
    "ragdist.losses",
    "adversarial loss",
    {
        "relativistic": "ragdist.objective.adversarial:RELATIVISTIC",
        "nonsaturating": "ragdist.objective.adversarial:NONSATURATING",
        "original": "ragdist.objective.adversarial:ORIGINAL",
        "hinge": "ragdist.objective.adversarial:HINGE",
        "least_squares": "ragdist.objective.adversarial:LEAST_SQUARES",
        "wasserstein": "ragdist.objective.adversarial:WASSERSTEIN",
    },
)

PAIRINGS = Table(
    "ragdist.pairings",
    "pairing",
    {
        "cover": "ragdist.objective.pairings:cover",
        "nearest": "ragdist.objective.pairings:nearest",
        "random": "ragdist.objective.pairings:random",
        "assignment": "ragdist.objective.pairings:assignment",
        "all": "ragdist.objective.pairings:every",
    },
)
