"""Every word that people read, in one place per language: `en.py` and `ja.py` have the same keys.

Texts may hold `{placeholders}`; whoever fills them escapes for where they go. What AWS or a resource says
stays in the words in which it was said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from qa_env.wording import en, ja

LANGUAGES: Mapping[str, Mapping[str, str]] = {"en": en.TEXTS, "ja": ja.TEXTS}
DEFAULT = "en"


@dataclass(frozen=True)
class Words:
    """The texts of one language: `words("phase.ready")`, `words("age.minutes", count=5)`."""

    language: str

    def __call__(self, key: str, **values: object) -> str:
        """The text; KeyError if there is none, because a test has seen to it that there is."""
        text = LANGUAGES[self.language][key]
        return text.format(**values) if values else text


def preferred(header: str) -> Words:
    """The language that an `Accept-Language` header likes best among ours."""
    wanted = sorted(_weighed(header), key=lambda pair: -pair[1])
    return Words(next((language for language, weight in wanted if weight > 0), DEFAULT))


def _weighed(header: str) -> Iterable[tuple[str, float]]:
    for part in header.split(",")[:20]:
        tag, _, parameter = part.strip().partition(";")
        language = tag.strip().lower().split("-")[0]
        if language in LANGUAGES:
            yield language, _weight(parameter.strip())


def _weight(parameter: str) -> float:
    try:
        return float(parameter.removeprefix("q=")) if parameter else 1.0
    except ValueError:
        return 0.0
