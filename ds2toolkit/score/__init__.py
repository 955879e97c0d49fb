"""Scoring: hypotheses on disk, alignment, error rates, reports; no torch."""
