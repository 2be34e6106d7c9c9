"""Show on one machine what runs of several processes, several machines and sweeps on a cluster promise."""
