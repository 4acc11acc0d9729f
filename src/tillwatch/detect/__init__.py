"""Mechanism Y: chunks in number order -> decode -> step -> commit -> publish."""
