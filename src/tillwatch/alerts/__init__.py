"""Alerts: rules are judged, messages are made of what they say, channels get them.

Judging is pure; sending has threads of its own. Nothing here holds up a pipeline.
"""
