"""Named environments: finding them by name, and saying what is in them."""
