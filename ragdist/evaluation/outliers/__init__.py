"""Outliers: how unlike its training data a run's discriminator and generator find each sample of other data.

The scores, the protocol by which they are judged where labels say which samples are outliers, and the report.
"""
