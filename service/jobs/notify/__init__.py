"""Notices: what asked for it is told when a job is over, by a POST to a URL that the settings allow."""
