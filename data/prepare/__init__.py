"""Makes a prepared dataset from any source of clips, in parallel and resumable.

Start with `prepare.py`; `config.py` shows what a kind of dataset has to declare.
"""
