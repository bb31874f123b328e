"""Search a run's options: `python -m tune.search`."""
