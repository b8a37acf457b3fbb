"""Tokens of others: whether an OpenID provider has signed one, and what it says."""
