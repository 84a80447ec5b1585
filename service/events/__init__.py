"""What an event of the bus is, and who waits for it."""
