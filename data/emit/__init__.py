"""Writes the rooms in the raw layouts of public datasets: the test bed of the importers."""
