"""Data: cuts, features, batches and the order in which they are seen."""

import os

# lhotse hands NIST SPHERE to a program that few machines have; libsndfile reads it, and all the rest, as well.
os.environ.setdefault("LHOTSE_AUDIO_BACKEND", "LibsndfileBackend")
