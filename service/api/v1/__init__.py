"""The URLs under /v1: jobs for pipelines, and who calls."""
