"""Imports DL3DV-10K scenes: frames, COLMAP cameras in `transforms.json`, and geometry from a teacher."""
