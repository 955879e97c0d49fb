"""Deep Speech 2 (Amodei et al., 2015) as a toolkit of recipes."""

__version__ = "0.1.0"
