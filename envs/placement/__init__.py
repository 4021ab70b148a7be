"""Device placement: which device runs which operation of a computation."""
