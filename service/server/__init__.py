"""The server: waitress, its listeners, and the life of the process."""
