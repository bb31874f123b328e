"""A run on Ray Train workers: the driver, its attempts, the workers, and the doctor's checks of a cluster.

Ray is imported here, in tune/ and in cluster/, and nowhere else; it is imported late, for it reads its settings then.
"""
