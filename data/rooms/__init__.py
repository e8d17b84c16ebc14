"""Procedural rooms with exact ground truth: a dataset made on the CPU from nothing but a seed."""
