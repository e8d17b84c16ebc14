"""Video generation models.

Windows of frames become latents, get noise, and are read inside the transformer; a folder per family. Start with
`base`, which does what all families share, then `wan.adapter`.
"""
