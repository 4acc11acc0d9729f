"""What all tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tillwatch.testing.sparks import shared_session

for module in (
    "stores",
    "state",
    "sharing",
):  # the suites that adapters pass: their asserts are to explain themselves too
    pytest.register_assert_rewrite(f"tillwatch.testing.{module}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests on Spark come first: so one worker has them, and with it one Spark, while idle ones take from the end."""
    items.sort(key=lambda item: not _is_on_spark(item))


def _is_on_spark(item: pytest.Item) -> bool:
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return item.path.parent.name == "spark" or parameters.get("engine") == "spark"


@pytest.fixture(scope="session")
def spark() -> Iterator[None]:
    """A Spark in this process, made when first asked for: whatever pipeline runs here uses it."""
    with shared_session():
        yield


@pytest.fixture(params=["embedded", pytest.param("spark", marks=pytest.mark.slow)])
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine in turn, as an override. A test that asks for it says what detecting means, not how it is done."""
    if request.param == "spark":
        request.getfixturevalue("spark")
    return f"engine={request.param}"
