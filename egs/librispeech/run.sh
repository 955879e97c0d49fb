#!/usr/bin/env bash
# LibriSpeech: 960 hours of read English.      bash egs/librispeech/run.sh --help
. "$(dirname "${BASH_SOURCE[0]}")/../stages.sh"

stage 0 "Get the corpus"               ds2 download
stage 1 "Read it into Lhotse cuts"     ds2 prepare
stage 2 "Compute features"             ds2 features
stage 3 "Make the vocabulary"          ds2 lang
stage 4 "Estimate the language model"  ds2 lm
stage 5 "Compile the decoding graph"   ds2 graph
stage 6 "Train"                        ds2 train
stage 7 "Tune on the dev set"          ds2 tune
stage 8 "Decode the test sets"         ds2 decode
stage 9 "Score"                        ds2 score
