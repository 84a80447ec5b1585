"""The jobs that are not over: what is heard of them, asked about them, and stored."""
