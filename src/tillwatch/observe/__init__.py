"""Who watches a pipeline at work: its events as logs and metrics, and what the state keeps of its activity."""
