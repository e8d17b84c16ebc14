"""Vision-language models: the 20 query frames are images of one prompt, and features are read at the visual tokens.

Start with `base`, then `family` (what a family adds) and `qwen.adapter`.
"""
