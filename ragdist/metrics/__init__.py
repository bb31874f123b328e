"""Measures of samples: pure functions of feature vectors, one measure a file.

No files, no data sets, no workers; a measure that needs pixels belongs to `ragdist.modalities.image`.
"""
