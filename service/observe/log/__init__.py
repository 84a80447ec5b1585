"""The log: one JSON line per fact."""
