"""Where code runs: workers in the user's interpreter, and the leases that share a run."""
