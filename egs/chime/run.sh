#!/usr/bin/env bash
# CHiME-3 and CHiME-4: a tablet on a bus, in a cafe, among pedestrians, at a street.      bash egs/chime/run.sh --help
. "$(dirname "${BASH_SOURCE[0]}")/../stages.sh"

stage 0 "Get the corpus"                   ds2 download
stage 1 "Read it into Lhotse cuts"         ds2 prepare
stage 2 "Compute features"                 ds2 features
stage 3 "Prepare noise and reverberation"  ds2 noise
stage 4 "Make the vocabulary"              ds2 lang
stage 5 "Estimate the language model"      ds2 lm
stage 6 "Compile the decoding graph"       ds2 graph
stage 7 "Train"                            ds2 train
stage 8 "Tune on the dev set"              ds2 tune
stage 9 "Decode the test sets"             ds2 decode
stage 10 "Score"                           ds2 score
