"""CogVideoX (text-to-video 2B and 5B, image-to-video 5B) and Aether, which generates geometry with the same network.

Start with `adapter`; `components` is what both use, `aether` the reconstruction before the features.
"""
