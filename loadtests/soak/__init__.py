"""A soak: a gateway under users, merges, kills and overload, and an audit of all it wrote."""
