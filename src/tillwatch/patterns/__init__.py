"""The pattern language: SQL conditions over declared features, read from YAML, compiled to a program."""
