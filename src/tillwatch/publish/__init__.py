"""The outbox: planned files of detections are written until they are there, each once."""
