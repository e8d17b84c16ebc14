"""Probes, losses, metrics and results on cached features; never imports a backbone library."""
