"""Durable storage of the workflow: SQLAlchemy Core tables, one writer with group commit, migrations."""
