"""Measures the sidecar beside salt-api's servers and beside the floor: same Salt, same master, same simulated fleet, same run."""
