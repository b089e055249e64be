"""How layouts are told apart in every picture: by colour first, then by marker, dash and filling.

Twelve colours, as many as the default run has layouts.  In either scheme each stands out from its page 3 : 1 at least
(WCAG 2.1, 1.4.11) and any two differ under full colour vision, protanopia and deuteranopia (Machado et al. 2009);
they were chosen for the largest least CIEDE2000 difference.
"""

from __future__ import annotations

from typing import Final

LIGHT: Final = (
    "#0072b2", "#cf5a00", "#008f68", "#a578ff", "#222222", "#ff4b78",
    "#2d96a5", "#0f4b00", "#b41e3c", "#1e3c69", "#875a78", "#4b00e1",
)  # fmt: skip
DARK: Final = (
    "#87d2ff", "#f09600", "#00873c", "#8796ff", "#e6e6e6", "#f01e3c",
    "#1e8787", "#c3f087", "#e19687", "#0078c3", "#b487b4", "#e12d87",
)  # fmt: skip
"""Of the same layouts on the dark page."""

PAGE_LIGHT, PAGE_DARK = "#ffffff", "#14171c"
"""What they stand out from."""

MARKERS: Final = "osD^v"
"""As many as share no factor with the colours: the pair of both repeats after sixty layouts."""
