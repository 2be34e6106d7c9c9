"""Proof by command that a run is never lost and never lies: kills, signals, damaged and hostile folders."""
