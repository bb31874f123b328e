"""Writing of shards: work shared among processes, tars whose bytes repeat, the folder of a run that goes on, uploads.

PyTorch is not imported here: processes that write start in a fraction of the time.
"""
