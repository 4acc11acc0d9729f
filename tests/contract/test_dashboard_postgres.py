"""The dashboard shows a pipeline whose state is in PostgreSQL, by a session that may only read."""

from __future__ import annotations

import json
from pathlib import Path

import httpx

from tillwatch.dashboard.server import served
from tillwatch.generate import generate
from tillwatch.pipeline import Pipeline
from tillwatch.testing.servers.postgres import postgres_server
from tillwatch.testing.small import CONFIG


def test_pages_are_those_of_the_state(tmp_path: Path) -> None:
    """Numbers, the filtered list, an export, one detection with both ranks and its history; empty before the run."""
    files = generate(tmp_path / "data", rows=3000, customers=250, merchants=15, seed=3)
    config = tmp_path / "tillwatch.yaml"
    config.write_text(CONFIG.format(source=files.transactions, importance=files.importance), "utf-8")
    with postgres_server() as server:
        place = [f"state={server.new_place()}", "source.every=0"]
        with served(Pipeline.look(config, place), port=0, every=0.05) as at, httpx.Client(base_url=at.url) as web:
            assert "nothing has been run" in web.get("/").text
            Pipeline.open(config, place).run(once=True)
            with web.stream("GET", "/live") as stream:
                said = (json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: "))
                while next(said)["processed"] < 12:
                    pass
            assert "3,000 rows processed" in web.get("/").text
            found = json.loads(web.get("/detections.json?pattern=PatId1&text=c").text)
            assert found and {record["patternId"] for record in found} == {"PatId1"}
            page = web.get(f"/detections/{found[0]['seq']}").text
            assert "standing-1" in page and "standing-2" in page and ">false<" not in page
            assert "transactions in" in web.get(f"/detections/{found[0]['seq']}/history").text
            assert "detections" in web.get("/detections?since=2020-01-01T00:00&merchant=nobody").text
