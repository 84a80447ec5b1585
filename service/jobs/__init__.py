"""Jobs that are stored: published once, judged by what is known of each minion, and followed whatever happens to us."""

from typing import Literal

# Here, since the command line shows them, and a health check every few seconds must not import more than it needs; jobs/outcome.py says what they mean.
JobStatus = Literal["queued", "publishing", "in_doubt", "running", "succeeded", "partial", "failed", "no_match", "timed_out", "cancelled", "unknown", "refused"]
