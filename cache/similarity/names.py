"""Names of the measures and of the kinds of samples, for options; nothing heavy is imported here."""

MEASURES = ("cka", "cka_robust", "rsa", "rsa_robust")
"""What `measures=` takes; `cache.similarity.measures` defines them."""
POOLS = ("row", "clip", "cell")
"""What a sample is: the mean of a row's cells, the mean of a clip's cells, or a single cell."""
