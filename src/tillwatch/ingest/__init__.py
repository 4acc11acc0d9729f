"""Mechanism X, ingest: discovers source files, cuts them into chunks and lands these in order."""
