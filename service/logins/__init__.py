"""Logins that are used again: credentials inside a low that the master took stand, for some seconds, as a token that nobody outside this process sees."""
