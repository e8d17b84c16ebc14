"""Several feature stores read as one: aligned, normalised, concatenated."""
