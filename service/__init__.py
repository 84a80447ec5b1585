"""salt-sidecar: one process beside the salt-master that turns HTTP into Salt calls."""

__version__ = "0.1.0"
