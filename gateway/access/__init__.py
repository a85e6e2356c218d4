"""Who may do what: scopes, keys and where they are read from, rates, TLS, and the audit."""
