"""Proof that a variant is what it says: all images there, all faces hidden, nothing else changed or left."""
