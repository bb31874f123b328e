"""Losses: adversarial losses, gradient penalties, the relative term. Pure functions of tensors.

No networks, no options, no state.
"""
