"""Training data: shards and their index, the order of samples, the reader.

Reading is here; making shards is in `writing` and `sources`, indexing and checking those of others in `indexing`. What
a sample is, its modality knows (`ragdist.modalities`).
"""
