"""What is remembered: accounts, sessions, scripts. The only room that knows SQL."""
