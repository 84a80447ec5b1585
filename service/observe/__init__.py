"""What the process says about itself: redaction, the JSON log, metrics."""
