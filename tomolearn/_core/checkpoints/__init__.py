"""Checkpoints: safetensors with a card in JSON, found, checked and rebuilt; nothing is unpickled.

Which classes a card may name is known to those who load: priors, networks.
"""
