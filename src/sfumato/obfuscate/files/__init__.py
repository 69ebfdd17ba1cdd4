"""Picture files: written again with other pixels, and with nothing else of the original left in them."""
