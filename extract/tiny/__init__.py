"""Tiny twins of the real models: the same classes and file layout, a few hundred kilobytes of random weights."""
