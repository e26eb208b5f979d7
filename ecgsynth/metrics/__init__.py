"""Pure functions that measure; each says which direction is better."""
