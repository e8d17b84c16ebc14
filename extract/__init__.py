"""Frozen backbones to feature stores: one adapter per model family and the job runner."""
