"""Facts about the master beside us: its options, its version, and Salt kept quiet."""
