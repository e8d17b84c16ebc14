"""Heads that turn the trunk's stages into class logits, instance embeddings, depth, points and cameras."""
