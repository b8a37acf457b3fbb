"""The operator's further commands, a file for each noun. `cli.py` puts them together."""
