"""DataModules that supply one or two datasets a run."""
