"""The audit trail: who asked for what, whether it was allowed, and what came of it; docs/audit.md has the details."""
