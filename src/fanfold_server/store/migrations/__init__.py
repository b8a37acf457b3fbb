"""The way from any older database to today's tables; run at start, see `store/migrating.py`."""
