"""The demo of `make run`: a salt-master, minions and the sidecar on one machine."""
