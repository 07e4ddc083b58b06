"""Analytic inversion: filtered back-projection and its filters and weights."""
