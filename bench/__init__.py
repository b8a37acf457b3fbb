"""How fast fanfold is beside what a user would pick instead; see README.md."""
