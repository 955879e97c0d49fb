"""Toy speech: sentences spoken by espeak-ng, with noise and rooms at known levels."""
