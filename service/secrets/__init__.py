"""What must not be compared or printed carelessly."""
