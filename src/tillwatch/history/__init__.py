"""Looking back at the landed history: why a detection fired, why a key has none, what other patterns would have found.

All of it is the same step over the same log; nothing is written.
"""
