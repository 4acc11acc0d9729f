"""For tests: stores that fail on purpose, suites that every adapter passes, oracles."""
