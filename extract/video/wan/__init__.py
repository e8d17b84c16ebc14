"""Wan 2.1: text-to-video 1.3B and 14B, image-to-video 14B.

Start with `adapter`; `first_frame` prepares what image-to-video is shown.
"""
