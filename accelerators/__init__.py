"""Where the work runs: batched stepping, rollouts, returns, checkpoints."""
