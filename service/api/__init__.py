"""The URLs: one file each, none imports another."""
