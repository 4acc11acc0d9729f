"""tillwatch."""
