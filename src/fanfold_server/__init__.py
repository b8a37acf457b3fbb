"""The server: stores functions, runs them in workers, answers over REST."""
