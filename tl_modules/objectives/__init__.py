"""Objectives: from the roles' losses and features to one loss."""
