"""What a reader of a data set finds out about each subject."""

from dataclasses import dataclass
from pathlib import Path

PHASES = ("ED", "ES")


@dataclass(frozen=True)
class SubjectRecord:
    """One subject of a data set: who, and which files.

    Attributes:
        subject: Code of the subject, unique in the data set.
        vendor: Letter of the scanner's vendor, for example ``"A"``.
        centre: Number of the centre as text, for example ``"1"``.
        image_path: NIfTI file with the images.
        label_path: NIfTI file with the labels, or None if there is none.
        phases: Pairs of phase ("ED", "ES") and frame index in the files.
        subset: Folder of the subject's folder inside the source ("" if flat), for
            example ``"Training/Labeled"``.
    """

    subject: str
    vendor: str
    centre: str
    image_path: Path
    label_path: Path | None
    phases: tuple[tuple[str, int], ...]
    subset: str = ""

    @property
    def group(self) -> str:
        """Vendor and centre in one, for example ``"A1"``."""
        return f"{self.vendor}{self.centre}"
