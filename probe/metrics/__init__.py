"""Metrics of the three probing tasks as pure functions: numpy arrays in, numbers out.

Every metric has two variants: `standard`, the corrected definition, and `paper`, the definition as published,
defects included. Nothing here imports torch or scikit-learn before a function needs it.

Arrays of numbers are NumPy arrays of the shape and kind of dtype that a docstring names: masks are bool, ids and
indices integers of any width, tag labels 0 or 1 of any of these, everything else floats of any width. Lists, tensors
and other dtypes are refused with `DatasetError`, never converted. Names (rooms of clips) come in any sequence.
"""
