"""What runs read: stores, arrays, clips and splits, checked before the first step, and the batches made of them.

Start with inputs.py; batches.py is what a training step is fed with.
"""
