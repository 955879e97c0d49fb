"""Hold a prepared split to its numbers of utterances and speakers."""

import sys

from lhotse import CutSet

path, num_utterances, num_speakers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
cuts = CutSet.from_file(path).to_eager()
speakers = {cut.supervisions[0].speaker for cut in cuts}
print(f"{path}: {len(cuts)} utterances of {len(speakers)} speakers")
assert (len(cuts), len(speakers)) == (num_utterances, num_speakers), f"expected {num_utterances} of {num_speakers}"
