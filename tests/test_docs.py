"""The pages under docs/ say what the code does."""

import importlib.util

from tests.commands import ROOT
from vae_jax import losses


def test_the_table_of_estimators_is_that_of_the_code():
    """Every combination has its mark, and no other; `python docs/generate.py` writes it."""
    specification = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    generate = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(generate)
    page = generate.PAGE.read_text()
    assert generate.with_table(page) == page
    assert page.count("✓") == sum(len(gradients) for gradients in losses.legal_combinations().values())
