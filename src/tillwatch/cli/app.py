"""All commands, in the order in which a person meets them."""

from __future__ import annotations

import click

from tillwatch.cli.audit import audit
from tillwatch.cli.backtest import backtest
from tillwatch.cli.check import check
from tillwatch.cli.command import Program
from tillwatch.cli.compact import compact
from tillwatch.cli.completion import completion
from tillwatch.cli.dashboard import dashboard
from tillwatch.cli.demo import demo
from tillwatch.cli.detect import detect
from tillwatch.cli.detections import detections
from tillwatch.cli.explain import explain
from tillwatch.cli.generate import generate
from tillwatch.cli.ingest import ingest
from tillwatch.cli.quality import quality
from tillwatch.cli.run import run
from tillwatch.cli.schema import schema
from tillwatch.cli.state import state
from tillwatch.cli.status import status
from tillwatch.cli.test import test
from tillwatch.cli.why_not import why_not

app = click.version_option(package_name="tillwatch", prog_name="tillwatch")(
    Program(
        "tillwatch",
        {
            "First steps": (demo, generate, check),
            "Patterns": (test, schema),
            "Work": (run, ingest, detect),
            "Look": (status, dashboard, detections, quality, audit),
            "Trust": (explain, why_not, backtest),
            "Keep": (state, compact),
            "Shell": (completion,),
        },
        help="Watches a transaction stream: lands it in numbered chunks, keeps exact features, publishes every "
        "detection exactly once.",
        epilog="Exit codes: 0 done, 1 the run failed, 2 the call or the configuration is wrong.",
    )
)
