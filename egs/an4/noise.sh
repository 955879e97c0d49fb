#!/usr/bin/env bash
# AN4 in noise: a model trained without noise against one trained with it on 40% of the utterances.      bash egs/an4/noise.sh --noises DIR
set -- --variant noise "$@"
. "$(dirname "${BASH_SOURCE[0]}")/../stages.sh"

work=$recipe/noise
stage 0  "Get the corpus"               ds2 download
stage 1  "Read it into Lhotse cuts"     ds2 prepare
stage 2  "Noise, and test sets in it"   ds2 noise --test-noises '*_2-*'
stage 3  "Compute features"             ds2 features
stage 4  "Make the vocabulary"          ds2 lang
stage 5  "Estimate the language model"  ds2 lm
stage 6  "Compile the decoding graph"   ds2 graph
stage 7  "Train without noise"          ds2 train --conf small --exp clean
stage 8  "Train with noise"             ds2 train --conf noisy --exp noisy
stage 9  "Tune on the dev set"          ds2 tune --exp clean
stage 10 "Tune on the dev set"          ds2 tune --exp noisy
stage 11 "Decode the test sets"         ds2 decode --exp clean
stage 12 "Decode the test sets"         ds2 decode --exp noisy
stage 13 "Score"                        ds2 score --exp clean
stage 14 "Score"                        ds2 score --exp noisy
stage 15 "Compare the two"              ds2 compare "$work/exp/clean" "$work/exp/noisy" --by set --html "$work/compare.html" --plot "$work/compare.png"
