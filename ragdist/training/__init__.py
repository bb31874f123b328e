"""The training loop: batches, updates of G and D, gradient reduction, monitoring, schedules.

All that changes weights is here. What a sample is, where a run lies and who started the process is not.
"""
