"""Who may call what: API keys, bearer tokens, certificates, and the role that each endpoint asks for."""
