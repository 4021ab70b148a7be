"""Evaluation: scores with intervals, videos, watching, figures."""
