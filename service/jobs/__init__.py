"""Jobs that are stored: published once, judged by what is known of each minion, and followed whatever happens to us."""
