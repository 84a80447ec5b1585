"""The URLs, one file each, and the gates in front of them; none imports another."""
