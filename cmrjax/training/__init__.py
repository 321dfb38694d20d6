"""Training: state, update step, sharding, checkpoints, writers and the loop."""
