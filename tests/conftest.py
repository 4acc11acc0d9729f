"""What all tests share."""

from __future__ import annotations

import pytest

for module in (
    "stores",
    "state",
    "sharing",
):  # the suites that adapters pass: their asserts are to explain themselves too
    pytest.register_assert_rewrite(f"tillwatch.testing.{module}")
