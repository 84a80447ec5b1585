"""Builds every object once, in order; the only package that knows all classes."""
