"""The second engine: the same fold on a Spark cluster.

Spark plans batches of chunks, runs tasks and moves bytes between them. A reading task decodes chunks, quarantines what
is not valid and adds up rows by key; a folding task keeps the state of one shard of the keys and runs the step of
`tillwatch.engine` on it. The state of a shard is a chain of immutable objects, named by a manifest that is committed
together with the detections: an object that no manifest names does not count.
"""
