"""Training losses, in the published form (`paper`) and a corrected one (`standard`).

Tensors have the shape and kind of dtype that a docstring names, floats and integers of any width; anything else, lists
included, is refused with `ConfigError`. These checks never look at values, so that a step pays nothing for them.
"""
