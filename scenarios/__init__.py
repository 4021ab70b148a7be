"""Scenarios: environment, parameters, agent, budget and threshold as data."""
