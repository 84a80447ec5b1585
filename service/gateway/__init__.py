"""The gateway: the only package that talks to Salt."""
