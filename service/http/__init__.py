"""HTTP as we speak it: media, errors, request ids, the canonical log line."""
