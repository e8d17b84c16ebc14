"""Open-Sora 2.0, run by the Flux classes of diffusers.

Start with `adapter`; `conversion` renames the published tensors.
"""
