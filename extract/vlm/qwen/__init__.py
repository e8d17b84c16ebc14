"""Qwen2.5-VL and Qwen3-VL, and models trained further from them.

Start with `adapter`, which states both generations.
"""
