"""Training: Stable-Baselines3 on the native vector environments, in rounds that a kill cannot undo."""
