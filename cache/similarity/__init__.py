"""How alike the features of two arrays are: debiased CKA, RSA, their robust variants, and a band of random pairings.

`measures.py` holds the arithmetic of one batch and `stream.py` the pass over the stores; start with `measures.py`.
"""
