"""Networks that look for faces: weights, sessions, families, and the views that they are shown."""
