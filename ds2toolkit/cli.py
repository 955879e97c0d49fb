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
    "--train-fraction": {"type": float, "metavar": "F", "help": "train on this share of the training set, 0.01 to 1"},
    "--set": {
        "action": "append", "default": [], "metavar": "KEY=VALUE", "dest": "settings",
        "help": "a setting over the configuration's, as in model.rnn_size=512; may be given again",
    },
}  # fmt: skip
TUNED = ("beam", "beam-free", "k2", "kaldi", "k2-nbest", "k2-lattice")
METHODS = {
    "--methods": {
        "nargs": "+", "choices": ("greedy", *TUNED, "k2-ctc"), "default": None,
        "help": "how to decode (default: greedy, beam, k2, kaldi, as far as they are installed)",
    },
}  # fmt: skip
NBEST = {
    "--nbest": {
        "type": int, "metavar": "N",
        "help": "write lists of up to N distinct texts an utterance, too, for beam, beam-free, k2 and k2-nbest (of its 100)",
    },
}  # fmt: skip
TUNE = {
    "--methods": {
        "nargs": "+", "choices": TUNED, "default": None,
        "help": "what to tune (default: beam, and kaldi, which shares with k2)",
    },
}  # fmt: skip
NOISE = {
    "--musan": {"type": Path, "help": "a copy of MUSAN (OpenSLR 17)"},
    "--rirs": {"type": Path, "help": "a copy of RIRS_NOISES (OpenSLR 28)"},
    "--noises": {"type": Path, "help": "a folder of recordings of noise"},
    "--test-noises": {"metavar": "PATTERN", "help": "those of --noises that only test sets such as test-10dB hear, as in '*_2-*'"},
    "--download": {"action": "store_true", "help": "fetch both from OpenSLR"},
}
NEW = {"folder": {"type": Path, "help": "the folder to make, such as egs/mine or ~/mine"}}
TRANSCRIBE = {
    "files": {"nargs": "+", "type": Path, "help": "audio files that soundfile reads, of any rate and channel count"},
    "--model": {"type": Path, "required": True, "help": "a checkpoint such as exp/ds2/best.pt, or its folder"},
    "--graph": {"type": Path, "help": "a graph folder such as data/lang/graph, to decode with its language model"},
    "--json": {"action": "store_true", "dest": "as_json", "help": "one JSON line a file, with the times of words"},
}
SEGMENT = {
    "audio": {"type": Path, "help": "a recording of any length, rate and channel count"},
    "text": {"type": Path, "help": "its transcript, as UTF-8 text"},
    "--model": TRANSCRIBE["--model"],
    "--out": {"type": Path, "required": True, "help": "the folder to make, of clips, their Lhotse cuts and a report"},
}
CONFS = {"confs": {"nargs": "+", "metavar": "CONF", "help": "a path, or a name such as paper/depth-7x5-gru or 'paper/*'"}}
EXPS = {"--exp": {"nargs": "+", "dest": "exps", "help": "names of experiments (default: all that are scored)"}}
TABLE = {
    "tables": {"nargs": "+", "choices": ("depth", "conv", "size", "data", "norm", "sortagrad", "benchmarks"), "help": "which"},
    "--recipe": {"type": Path, "default": Path("."), "dest": "folder", "help": "recipe folder; for benchmarks the one above, too"},
    "--variant": RECIPE["--variant"],
    "--toy": {"action": "store_true", "help": "on the toy corpus; of configurations the rows made small"},
    "--run": {"action": "store_true", "dest": "train", "help": "train, decode and score what is missing, one row after the other"},
    "--list": {"action": "store_true", "dest": "as_list", "help": "print the commands of what is missing, one line a row"},
}
ERRORS = {
    "exp": {"type": Path, "help": "an experiment folder, such as egs/an4/exp/ds2"},
    "--method": {"help": "the method of decoding (default: one with a language model, where there is one)"},
    "--set": {"nargs": "+", "dest": "sets", "help": "test sets (default: all)"},
    "--top": {"type": int, "default": 10, "help": "how many lines a table (default: 10)"},
}
PLOT = {
    "exps": {"nargs": "+", "type": Path, "metavar": "EXP", "help": "experiment folders, such as egs/an4/exp/ds2"},
    "--out": {"type": Path, "default": Path("runs.png"), "help": "a .png, .svg or .pdf (default: runs.png)"},
}
COMPARE = {
    "exps": {"nargs": "+", "type": Path, "metavar": "EXP", "help": "experiment folders, such as egs/an4/exp/ds2, the first to compare with"},
    "--by": {
        "choices": ("condition", "speaker", "gender", "set"), "default": "condition",
        "help": "what the rows part test sets by (default: condition)",
    },
    "--method": {
        "nargs": "+", "dest": "methods", "default": None,
        "help": "the method of decoding; several are compared with each other, too (default: greedy, where all have it)",
    },
    "--html": {"type": Path, "metavar": "OUT.html", "help": "write a page to read, in one file, with the worst utterances to hear"},
    "--markdown": {"type": Path, "metavar": "OUT.md", "help": "write the table for a README"},
    "--plot": {"type": Path, "metavar": "OUT", "help": "write a picture: a .png, .svg or .pdf"},
}  # fmt: skip
ALIGN = {"--split": {"nargs": "+", "dest": "splits", "help": "which splits (default: those of the dev set)"}}
LIST = {"folder": {"nargs": "?", "type": Path, "default": Path("."), "help": "where to look for recipes"}}

VERBS: dict[str, tuple[str, dict[str, dict[str, Any]]]] = {
    "download": ("fetch the corpus, link your copy, or make the toy corpus", RECIPE | CORPUS | SIZE | OPTIONS),
    "prepare": ("read the corpus into Lhotse cuts and report what was dropped", RECIPE | CORPUS | JOBS | OPTIONS),
    "noise": ("read MUSAN, RIRS_NOISES or any recordings, for noise on training utterances and in test sets", RECIPE | NOISE),
    "features": ("compute features, and their mean and variance", RECIPE | JOBS),
    "lang": ("make the vocabulary of the network's outputs", RECIPE),
    "lm": ("estimate the n-gram language model, or take the corpus's own", RECIPE),
    "graph": ("compile vocabulary, lexicon and language model into one graph", RECIPE),
    "train": ("train the network, or go on with a run that was stopped", RECIPE | EXP | TRAIN),
    "tune": ("choose on the dev set how much language model and word count weigh", RECIPE | EXP | GRAPH | TUNE | JOBS),
    "calibrate": ("learn on the dev set how far words of `ds2 transcribe` can be trusted", RECIPE | EXP | GRAPH | JOBS),
    "decode": ("decode the test sets: greedy, beam search, k2, kaldi-decoder", RECIPE | EXP | MODEL | GRAPH | METHODS | NBEST | JOBS),
    "align": ("when each word and character of the transcripts is said", RECIPE | EXP | MODEL | ALIGN),
    "score": ("error rates by set and condition, with their intervals", RECIPE | EXP | MODEL),
    "results": ("write RESULTS.md of a recipe from its score files", RECIPE | EXPS),
    "table": ("the paper's tables with a measured column, and the runs that fill it", TABLE),
    "compare": ("models side by side: which is better, where, and whether it is real", COMPARE),
    "errors": ("the most frequent errors of an experiment, its worst speakers and utterances", ERRORS),
    "plot": ("loss, error rate, learning rate, gradient norm and speed of runs in one picture", PLOT),
    "transcribe": ("print the words of audio files", TRANSCRIBE),
    "segment": ("cut a long recording with its transcript into clips to train on", SEGMENT),
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
    # Read when torch is loaded. Threads that spin while they wait lose half their speed to any other busy process.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
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
