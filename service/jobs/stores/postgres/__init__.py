"""The store of jobs in a database of PostgreSQL, which several sidecars share. Imported only when `jobs.store` names one: psycopg is an extra."""
