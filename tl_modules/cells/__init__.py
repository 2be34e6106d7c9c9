"""The eight cells: a wiring and stages each."""
