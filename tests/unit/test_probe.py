"""The probe of a store cleans up after one that was killed, and audit does not mind what such a one has left."""

from __future__ import annotations

from pathlib import Path

from tillwatch.audit import audit
from tillwatch.pipeline import Pipeline
from tillwatch.stores import LocalStore, check_creates


def test_a_probe_that_was_left_is_removed(tmp_path: Path) -> None:
    """The next probe removes it, and nothing else."""
    store = LocalStore(tmp_path)
    for name in ("tillwatch-probe-0123", "detections.csv"):
        store.put(name, b"")
    check_creates(store)
    assert list(store.list()) == ["detections.csv"]


def test_a_probe_that_was_left_is_no_detection_file(tmp_path: Path) -> None:
    """Audit tells of every file in no plan, save of a probe."""
    (tmp_path / "in.csv").write_text("customer,merchant,amount\nC1,M1,2\n", "utf-8")
    config = tmp_path / "tillwatch.yaml"
    config.write_text("source: ./in.csv\npatterns: [PatId2]\ndetections: ./out\n", "utf-8")
    pipeline = Pipeline.open(config)
    pipeline.run(once=True)
    for name in ("tillwatch-probe-0123", "another.csv"):
        LocalStore(tmp_path / "out").put(name, b"")
    assert [problem for check in audit(pipeline) for problem in check.problems] == ["another.csv is in no plan"]
