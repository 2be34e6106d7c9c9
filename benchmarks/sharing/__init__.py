"""What the store saves: the same runs with and without it, in steps and seconds, and whether they are equal."""
