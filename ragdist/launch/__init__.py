"""Where a run executes: in this process (`local`), or on Ray Train workers (`on_ray`).

Only `on_ray` imports Ray. Nothing here computes a weight: that is `ragdist.training`.
"""
