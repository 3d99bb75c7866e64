"""Which metrics the daemon exports, and which ones a PromQL expression names."""

from __future__ import annotations

import re

from prometheus_client.parser import text_string_to_metric_families

_NAME = re.compile(r"\b(?:homerun|process)_\w+")
_STRING = re.compile(r'"[^"]*"')


def exported_names(scrape: str) -> set[str]:
    """Names of all samples of a scrape."""
    return {
        sample.name
        for family in text_string_to_metric_families(scrape)
        for sample in family.samples
    }


def named_metrics(expression: str) -> set[str]:
    """Names of metrics in an expression; recorded ones (with a colon) are left out."""
    bare = _STRING.sub('""', expression)
    return set(_NAME.findall(re.sub(r"\w+:[\w:]+", "", bare)))


def recorded_names(expression: str) -> set[str]:
    """Names of recorded series in an expression."""
    return set(re.findall(r"\brun:\w+:\w+", _STRING.sub('""', expression)))
