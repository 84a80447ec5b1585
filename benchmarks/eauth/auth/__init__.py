"""Eauth modules."""
