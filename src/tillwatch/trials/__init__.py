"""Examples of patterns, run by the pipeline's own decoding and step."""
