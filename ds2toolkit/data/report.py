"""The report of what was dropped from a corpus and why: counts first, then one line an utterance."""

from collections import Counter
from pathlib import Path

from ds2toolkit.files import write_text


class Report:
    """Collects dropped utterances, and notes on those kept. Nothing leaves a corpus without a line here."""

    def __init__(self) -> None:
        self.dropped: list[tuple[str, str, str, str]] = []
        self.notes: list[str] = []

    def drop(self, split: str, utterance_id: str, reason: str, detail: str = "") -> None:
        """Note an utterance left out. Counts go by `reason`; `detail` tells this one from the others."""
        self.dropped.append((split, utterance_id, reason, detail))

    def counts(self) -> Counter[tuple[str, str]]:
        """Number of utterances dropped, by (split, reason)."""
        return Counter((split, reason) for split, _, reason, _ in self.dropped)

    def write(self, path: Path) -> None:
        """Write the report as plain text, whole or not at all."""
        write_text(path, "\n".join([*self.lines(), ""]))

    def lines(self) -> list[str]:
        if not self.dropped:
            return ["No utterance was dropped.", *self.notes]
        totals = [
            f"{split}  {count:6d}  {reason}" for (split, reason), count in sorted(self.counts().items())
        ]
        each = [
            f"{split}  {utterance_id}  {reason}{': ' if detail else ''}{' '.join(detail.split())}"
            for split, utterance_id, reason, detail in self.dropped
        ]
        return [f"Dropped {len(self.dropped)} utterances.", *self.notes, "", *totals, "", *each]
