"""What the master of a benchmark loads."""
