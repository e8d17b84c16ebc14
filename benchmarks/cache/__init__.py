"""Benchmarks of the feature store: paired with raw reads of the same bytes in the same run."""
