"""Tests of what only a GPU does. They start by themselves alone: see conftest.py."""
