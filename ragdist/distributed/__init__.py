"""Processes that work together: ranks and their collectives, agreement on weights, worker processes of this machine.

Nothing here knows Ray, nor what is computed.
"""
