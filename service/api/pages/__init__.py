"""What browsers open, and what is there for programs that write clients: the page of the settings, our own, and the OpenAPI document."""
