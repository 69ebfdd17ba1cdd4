"""What lies beside a variant: the hidden boxes, a description for machines, a card for people."""
