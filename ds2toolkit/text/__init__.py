"""Text: normalisation, vocabularies, lexicon, n-gram language models."""
