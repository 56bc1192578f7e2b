"""The list of links, and that the models which must spell them out have the same ones."""

import pytest
from pydantic import BaseModel

from svvr.core.params import LinkMargins
from svvr.judge import results, schemas
from svvr.links import BY_NAME, CHAIN, GENERALISATION, LINKS, MEASURED


def test_the_question_stands_first_and_ends_the_chain() -> None:
    assert (GENERALISATION, *MEASURED) == LINKS and (*MEASURED, GENERALISATION) == CHAIN
    assert list(BY_NAME.values()) == list(LINKS) and [link.name for link in LINKS] == list(BY_NAME)
    assert {link.better for link in LINKS} <= {-1, 1}


@pytest.mark.parametrize("model", [LinkMargins, schemas.DiagnosedRun, results.DoseResponse])
def test_models_that_spell_the_links_out_have_the_same_ones(model: type[BaseModel]) -> None:
    assert [name for name in model.model_fields if name in BY_NAME] == [link.name for link in MEASURED]
