"""Figures and their scrape."""
