"""Variational methods: a data term and a prior."""
