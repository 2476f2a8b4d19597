"""The workflow: requests, approval tasks, approvals. Untrusted by the HSM."""
