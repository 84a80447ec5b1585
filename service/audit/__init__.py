"""The audit trail: who asked for what, whether they were let, and what came of it; docs/audit.md tells all of it."""
