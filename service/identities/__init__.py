"""Identities: who was proven elsewhere becomes an account of the master's eauth module `sidecar`, and the master says what that may do."""
