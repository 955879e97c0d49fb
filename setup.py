"""Package ds2toolkit: ranges live here, the pinned versions of the set-up commands in requirements/."""

from pathlib import Path

from setuptools import find_packages, setup

version = Path("ds2toolkit/__init__.py").read_text(encoding="utf-8").split('__version__ = "')[1].split('"')[0]

setup(
    name="ds2toolkit",
    version=version,
    description="Deep Speech 2 as a toolkit of recipes",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["ds2toolkit*"]),
    package_data={"ds2toolkit": ["conf/*.yaml", "conf/paper/*.yaml", "score/*.yaml", "score/page/page.*"]},
    install_requires=[
        "torch>=2.4",
        "numpy>=1.26",
        "scipy>=1.11",  # lhotse resamples with it where torchaudio is absent
        "lhotse>=1.31",
        "urllib3",  # lhotse imports it without declaring it
        "lilcom>=1.8",
        "soundfile>=0.12",
        "kaldifst>=1.7",
        "kaldi-decoder>=0.2.5",
        "kaldilm>=1.15",
        "kaldialign>=0.9",
        "flashlight-text>=0.0.7",
        "av>=12",  # shorten-compressed SPHERE, as WSJ has it
        "sentencepiece>=0.2",
        "jsonargparse>=4.49",
        "PyYAML>=6",
        "tabulate>=0.9",
        "Jinja2>=3.1",
        "tensorboard>=2.14",
        "tqdm>=4.60",
        "psutil>=5.9",
    ],
    extras_require={
        "toy": ["espeakng-loader>=0.2.4"],
        "plots": ["matplotlib>=3.7"],
        "dev": ["pytest>=8", "pytest-xdist>=3.5", "hypothesis>=6.100"],
    },
    entry_points={"console_scripts": ["ds2=ds2toolkit.cli:main"]},
)
