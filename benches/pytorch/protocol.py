"""What the parts have in common."""

from __future__ import annotations

from collections.abc import Callable

# The sizes that benches/speed gives, by name.
Sizes = dict[str, int]

# Prepares some work of those sizes; each call of what it returns does the work once.
Work = Callable[[Sizes], Callable[[], None]]
