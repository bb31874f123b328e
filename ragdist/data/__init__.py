"""Training data: shards, their index, the order of samples, the reader."""
