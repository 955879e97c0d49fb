"""What was heard in a cut, as a hypothesis to score, with what is known of the cut."""

from lhotse.cut import Cut, MonoCut

from ds2toolkit.score.hypotheses import Hypothesis


def hypothesis(cut: Cut, split: str, text: str, score: float | None) -> Hypothesis:
    said = cut.supervisions[0]
    condition = (said.custom or {}).get("condition") or "all"
    speaker = said.speaker or "unknown"
    more = {"score": score, "gender": said.gender, **audio_of(cut)}
    return Hypothesis(cut.id, split, condition, speaker, said.text, text, cut.duration, **more)


def audio_of(cut: Cut) -> dict[str, str | float | int]:
    """Where the utterance can be heard, if one file has it."""
    sources = cut.recording.sources if isinstance(cut, MonoCut) and cut.has_recording else []
    if len(sources) != 1 or sources[0].type != "file":
        return {}
    return {"audio": str(sources[0].source), "audio_start_s": float(cut.start), "audio_channel": sources[0].channels.index(cut.channel)}
