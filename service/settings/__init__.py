"""What we can be told, and by whom."""
