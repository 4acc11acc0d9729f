"""Readers: one a format, all alike. A reader cuts a file into pieces, from any position on."""
