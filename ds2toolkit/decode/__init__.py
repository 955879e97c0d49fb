"""Decoding: graphs, k2, kaldi-decoder."""
