"""Detections as a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import polars as pl

from tillwatch.state.base import StoredDetection


def as_frame(stored: Sequence[StoredDetection]) -> pl.DataFrame:
    """Detections as a table, one row each."""
    columns: dict[str, Any] = {
        "seq": pl.Series([s.seq for s in stored], dtype=pl.Int64),
        "chunk": pl.Series([s.detection.chunk for s in stored], dtype=pl.Int64),
        "patternId": pl.Series([s.detection.pattern for s in stored], dtype=pl.String),
        "ActionType": pl.Series([s.detection.action for s in stored], dtype=pl.String),
        "customerName": pl.Series([s.detection.customer for s in stored], dtype=pl.String),
        "MerchantId": pl.Series([s.detection.merchant for s in stored], dtype=pl.String),
        "detectionTime": pl.Series([s.at for s in stored], dtype=pl.String),
        "file": pl.Series([s.file for s in stored], dtype=pl.String),
        "key": pl.Series([json.dumps(dict(s.detection.key), ensure_ascii=False) for s in stored], dtype=pl.String),
        "holds": pl.Series([s.holds for s in stored], dtype=pl.Boolean),
        "evidence": pl.Series([json.dumps(s.detection.evidence, ensure_ascii=False) for s in stored], dtype=pl.String),
    }
    return pl.DataFrame(columns)
