"""Secrets: how they are read, compared and kept out of sight."""
