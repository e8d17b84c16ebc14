"""What all tasks' metrics share: the score of one clip, scores of a split, intervals and paired tests over rooms.

Start with score.py and scores.py; statistics.py is the one engine, for results and for the report. Metrics are pure
functions, numpy arrays in, numbers out, in two variants: `standard`, the corrected definition, and `paper`, the
definition as published, defects included.

Arrays of numbers are NumPy arrays of the shape and kind of dtype that a docstring names: masks are bool, ids and
indices integers of any width, tag labels 0 or 1 of any of these, everything else floats of any width. Lists, tensors
and other dtypes are refused with `DatasetError`, never converted. Names (rooms of clips) come in any sequence.
"""
