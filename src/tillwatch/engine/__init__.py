"""The core: landed frames -> clean rows -> running values -> verdicts. No I/O, no clock.

frames ─► Decoder.decode ─► Rows ─► Fold.step ─► Outcome (detections with evidence, turns of earlier ones)
"""
