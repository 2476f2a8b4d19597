"""Approval keys and the client that shows what it signs."""
