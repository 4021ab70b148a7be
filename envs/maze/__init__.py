"""First-person and symbolic mazes."""
