"""Tests of what crosses between supervisor and trainer."""
