"""Bytes to and from the master: the bus thread, the request channels and the event bus."""
