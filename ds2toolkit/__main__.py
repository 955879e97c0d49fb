"""`python -m ds2toolkit VERB …` is `ds2 VERB …`, for launchers such as torchrun that start a module."""

from ds2toolkit.cli import main

if __name__ == "__main__":
    main()
