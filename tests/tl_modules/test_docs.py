"""The examples in the docstrings of what the package exports run, and say what they show."""

import doctest
import sys

import pytest

import tl_modules

EXPORTED = [name for name in tl_modules.__all__ if not name.startswith("_")]


@pytest.mark.parametrize("name", EXPORTED)
def test_every_public_name_has_an_example_that_runs(name):
    thing = getattr(tl_modules, name)
    scope = dict(vars(sys.modules[thing.__module__]))
    finder = doctest.DocTestFinder(recurse=True)
    found = [one for one in finder.find(thing, name, globs=scope) if one.examples]
    assert any(one.name == name for one in found), "no example"
    for one in found:
        assert doctest.DocTestRunner(verbose=False).run(one).failed == 0
