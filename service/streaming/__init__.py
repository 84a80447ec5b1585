"""One bus, many readers: `GET /events`."""
