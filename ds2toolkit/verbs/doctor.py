"""`ds2 doctor`: what is installed, what is missing, and the one command that adds it."""

import importlib
import importlib.metadata
import importlib.util
import os
import platform

from ds2toolkit.decode.k2_worker import k2_available

PACKAGES = {
    "torch": "make install",
    "lhotse": "make install",
    "lilcom": "make install",
    "soundfile": "make install",
    "av": "make install",
    "sentencepiece": "make install",
    "kaldifst": "make install",
    "kaldi_decoder": "make install",
    "kaldilm": "make install",
    "kaldialign": "make install",
    "tensorboard": "make install",
    "torchaudio": "make install (optional: more of lhotse's augmentation)",
    "espeakng_loader": "pip install 'ds2toolkit[toy]' (optional: toy speech)",
    "matplotlib": "pip install 'ds2toolkit[plots]' (optional: pictures of training)",
    "kaldifeat": "make kaldifeat (optional: features: {backend: kaldifeat})",
}


def run() -> None:
    print(f"{'python':16} {platform.python_version()}, {os.cpu_count()} cores")
    for name, command in PACKAGES.items():
        print(f"{name:16} {state(name, command)}")
    print(f"{'k2':16} {k2_available() or 'missing: make k2 (without it, kaldi-decoder searches the graphs)'}")
    print(f"{'GPU':16} {gpu()}")
    print(f"{'real speech':16} {os.environ.get('DS2_REAL_SPEECH', 'DS2_REAL_SPEECH is not set: tests on real speech skip')}")


def state(name: str, command: str) -> str:
    """The version of a package, or why it does not work and what to do."""
    if importlib.util.find_spec(name) is None:
        return f"missing: {command}"
    try:
        importlib.import_module(name)
    except (ImportError, OSError, RuntimeError) as error:
        remedy = "bash tools/fix_torchaudio.sh" if name == "torchaudio" else command
        return f"installed, but does not import ({str(error).splitlines()[0]}): {remedy}"
    return importlib.metadata.version(name.replace("_", "-"))


def gpu() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "none: training runs on the CPU"
