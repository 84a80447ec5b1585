"""Where jobs are kept: one Protocol, a file of SQLite, or a database of PostgreSQL."""
