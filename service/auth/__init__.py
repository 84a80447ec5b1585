"""Who calls, and what they may do: login limits, sessions, permissions, webhook signatures."""
