"""What `train.py` is made of: the configuration's check, the run's folder, its stages and its pictures."""
