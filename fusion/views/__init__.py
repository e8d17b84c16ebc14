"""A fused source that answers like a store.

Rows paired, resampled, normalised, projected and joined while they are read. Start with `view`; `assemble` makes
one from open stores and a recipe.
"""
