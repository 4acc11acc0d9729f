"""For tests: servers that speak the protocols of other places, each started in or by the test's own process."""
