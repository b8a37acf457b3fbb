"""Words: bytes to the model's words and back, without decisions. The web framework stays here."""
