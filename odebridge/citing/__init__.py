"""What to cite: publications as data, and BibTeX of what was used."""

from __future__ import annotations

from odebridge.citing.cite import cite

__all__ = ["cite"]
