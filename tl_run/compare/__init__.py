"""One command that tries every way to profit from a source, and says which helps."""
