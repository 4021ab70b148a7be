"""First-person and symbolic mazes: one compiled world, seven families that differ in their data."""
