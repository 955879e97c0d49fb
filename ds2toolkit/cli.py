"""The command line `ds2`: one verb a stage, the only reader of sys.argv."""

import argparse
import errno
import importlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

from ds2toolkit.errors import UserError

RECIPE = {
    "--recipe": {"type": Path, "default": Path("."), "help": "recipe folder (default: the current folder)"},
    "--variant": {"help": "a variant that recipe.yaml names, such as toy"},
}
CORPUS = {"--corpus-dir": {"type": Path, "help": "a copy of the corpus that you already have"}}
OPTIONS = {
    "--option": {
        "action": "append", "default": [], "metavar": "KEY=VALUE", "dest": "options",
        "help": "an option of the recipe's prepare(), as in channel=4; may be given again",
    },
}  # fmt: skip
SIZE = {"--size": {"type": int, "help": "at most so many utterances a split of the toy corpus"}}
JOBS = {"--nj": {"type": int, "default": 0, "help": "number of parallel jobs (default: one a core)"}}
EXP = {"--exp": {"help": "name of the experiment folder below exp/ (default: ds2)"}}
MODEL = {"--model": {"type": Path, "help": "another recipe's model, as in ../librispeech/exp/ds2"}}
GRAPH = {"--graph": {"type": Path, "help": "a graph folder (default: the recipe's own; with --model, that model's recipe's)"}}
TRAIN = {
    "--conf": {"help": "training configuration: a path, or a name in the recipe's conf/"},
    "--restart": {"action": "store_true", "help": "begin again, deleting what the experiment folder holds"},
    "--set": {
        "action": "append", "default": [], "metavar": "KEY=VALUE", "dest": "settings",
        "help": "a setting over the configuration's, as in model.rnn_size=512; may be given again",
    },
}  # fmt: skip
DECODE = {
    "--methods": {
        "nargs": "+", "choices": ("greedy", "k2", "kaldi"), "default": None,
        "help": "how to decode: greedy, k2, kaldi (default: all that are installed)",
    },
}  # fmt: skip
NOISE = {
    "--musan": {"type": Path, "help": "a copy of MUSAN (OpenSLR 17)"},
    "--rirs": {"type": Path, "help": "a copy of RIRS_NOISES (OpenSLR 28)"},
    "--download": {"action": "store_true", "help": "fetch both from OpenSLR"},
}
NEW = {"folder": {"type": Path, "help": "the folder to make, such as egs/mine or ~/mine"}}
TRANSCRIBE = {
    "files": {"nargs": "+", "type": Path, "help": "audio files that soundfile reads, of any rate and channel count"},
    "--model": {"type": Path, "required": True, "help": "a checkpoint such as exp/ds2/best.pt, or its folder"},
    "--graph": {"type": Path, "help": "a graph folder such as data/lang/graph, to decode with its language model"},
    "--json": {"action": "store_true", "dest": "as_json", "help": "one JSON line a file, with the times of words"},
}
CONFS = {"confs": {"nargs": "+", "metavar": "CONF", "help": "a path, or a name such as paper/depth-7x5-gru or 'paper/*'"}}
LIST = {"folder": {"nargs": "?", "type": Path, "default": Path("."), "help": "where to look for recipes"}}

VERBS: dict[str, tuple[str, dict[str, dict[str, Any]]]] = {
    "download": ("fetch the corpus, link your copy, or make the toy corpus", RECIPE | CORPUS | SIZE | OPTIONS),
    "prepare": ("read the corpus into Lhotse cuts and report what was dropped", RECIPE | CORPUS | JOBS | OPTIONS),
    "noise": ("read MUSAN and RIRS_NOISES, for noise on training utterances", RECIPE | NOISE),
    "features": ("compute features, and their mean and variance", RECIPE | JOBS),
    "lang": ("make the vocabulary of the network's outputs", RECIPE),
    "lm": ("estimate the n-gram language model, or take the corpus's own", RECIPE),
    "graph": ("compile vocabulary, lexicon and language model into one graph", RECIPE),
    "train": ("train the network, or go on with a run that was stopped", RECIPE | EXP | TRAIN),
    "decode": ("decode the test sets: greedy, k2, kaldi-decoder", RECIPE | EXP | MODEL | GRAPH | DECODE),
    "score": ("error rates by set and condition, with their intervals", RECIPE | EXP | MODEL),
    "transcribe": ("print the words of audio files", TRANSCRIBE),
    "new": ("make a recipe folder for a corpus of your own", NEW),
    "check": ("hold a recipe folder to the contract, on its toy corpus or on --corpus-dir", RECIPE | CORPUS),
    "doctor": ("list what is installed, what is missing and how to add it", {}),
    "size": ("parameters and operations of training configurations", CONFS),
    "list": ("list the recipes and how far each has come", LIST),
}


def parser():
    """The parser of all verbs; its library is imported here, so that Ctrl-C is met by `main` from the start."""
    from jsonargparse import ArgumentParser

    look = {"formatter_class": argparse.HelpFormatter}
    top = ArgumentParser(prog="ds2", description="Deep Speech 2 recipes: each verb is one stage of a recipe.", **look)
    verbs = top.add_subcommands(dest="verb", metavar="VERB", title="verbs (ds2 VERB --help tells more)")
    for name, (summary, options) in VERBS.items():
        sub = ArgumentParser(description=f"{summary[0].upper()}{summary[1:]}.", **look)
        for option, settings in options.items():
            sub.add_argument(option, **settings)
        verbs.add_subcommand(name, sub, help=summary)
    return top


def call(arguments: list[str]) -> None:
    """Parse, load the recipe where the verb has one, and run the verb's module."""
    from ds2toolkit.recipe import load

    parsed = parser().parse_args(arguments)
    options = dict(vars(parsed[parsed.verb]))
    if "recipe" in options:
        options["recipe"] = load(options["recipe"], options.pop("variant"))
    if "nj" in options:
        options["num_jobs"] = num_jobs(options.pop("nj"))
    importlib.import_module(f"ds2toolkit.verbs.{parsed.verb}").run(**options)


def num_jobs(nj: int) -> int:
    if nj < 0:
        raise UserError(f"--nj {nj}: expected at least 1")
    return nj or os.cpu_count() or 1


def main() -> None:
    """Run one verb. Exit code 2 for what the user can fix, 130 for Ctrl-C; a bug keeps its traceback."""
    try:
        call(sys.argv[1:])
    except UserError as error:
        fail(str(error))
    except KeyboardInterrupt:
        fail("interrupted; run the same command to go on", code=130)
    except BrokenPipeError:  # as in `ds2 list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS):
            raise
        fail(f"{error.strerror}: {error.filename or 'while writing'}\nNothing half-written is kept: run the same command again.")


def fail(message: str, code: int = 2) -> None:
    print("ds2: " + message.replace("\n", "\n     "), file=sys.stderr)
    sys.exit(code)
