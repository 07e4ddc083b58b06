"""Benchmarks of a task: search of settings, metrics, image quality, reports, leaderboard."""
