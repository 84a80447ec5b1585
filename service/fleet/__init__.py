"""Watches every job and minion on the bus, for the metrics."""
