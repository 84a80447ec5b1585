"""Scoped tokens: for a few functions on a few minions, made by whoever has a session, for a script that should have no more."""
