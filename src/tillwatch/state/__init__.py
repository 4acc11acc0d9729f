"""What survives a crash: cursor, detections, outbox, ledger, and the tables of running values."""
