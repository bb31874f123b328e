"""Measures of samples: pure functions of feature vectors, one measure a file; and the tables of features and measures.

No files, no data sets, no workers; a measure that needs pixels belongs to `ragdist.modalities.image`. Importing this
needs no PyTorch.
"""

from ragdist.tools.table import Table

# What samples are compared by: each a `metrics.extractor.Features`.
FEATURES = Table(
    "ragdist.features",
    "kind of features",
    {
        "pixels": "ragdist.modalities.image.features:PIXELS",
        "laplacian": "ragdist.modalities.image.features:LAPLACIAN",
        "classifier": "ragdist.modalities.classifier:CLASSIFIER",
        "inception": "ragdist.modalities.image.inception:INCEPTION",
        "log_mel": "ragdist.modalities.audio.features:LOG_MEL",
        "speaker": "ragdist.modalities.audio.speaker:SPEAKER",
        "ngrams": "ragdist.modalities.text.features:NGRAMS",
        "numbers": "ragdist.modalities.array.features:NUMBERS",
    },
)

# Each a `metrics.measure.Measure`, in the order in which they are taken.
MEASURES = Table(
    "ragdist.measures",
    "measure",
    {
        "frechet": "ragdist.evaluation.measures:FRECHET",
        "kid": "ragdist.evaluation.measures:KID",
        "precision_recall": "ragdist.evaluation.measures:PRECISION_RECALL",
        "density_coverage": "ragdist.evaluation.measures:DENSITY_COVERAGE",
        "memorization": "ragdist.evaluation.measures:MEMORIZATION",
        "swd": "ragdist.modalities.image.measures:SWD",
        "ms_ssim": "ragdist.modalities.image.measures:MS_SSIM",
        "classes": "ragdist.evaluation.measures:CLASSES",
        "inception_score": "ragdist.modalities.image.measures:INCEPTION_SCORE",
        "clip_faults": "ragdist.modalities.audio.measures:CLIP_FAULTS",
        "text_scores": "ragdist.modalities.text.measures:TEXT_SCORES",
        "trajectories": "ragdist.modalities.array.measures:TRAJECTORIES",
        "crossings": "ragdist.modalities.array.measures:CROSSINGS",
        "routes": "ragdist.modalities.array.measures:ROUTES",
    },
)
