"""Sources of features that are not models, through the same door: floors and ceilings of every probe score."""
