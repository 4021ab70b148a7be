"""Driving on street graphs: from a map file or a generator to courier, coins, instructions."""
