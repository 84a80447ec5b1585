"""What happened, turned into log lines and metrics."""
