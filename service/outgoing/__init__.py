"""Requests outwards: to URLs that the settings allow, each within a deadline."""
