"""The user's rows: where tables are kept, and how a query's result becomes the input of calls."""
