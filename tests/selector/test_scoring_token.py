"""The token that the selector shows to scoring."""

from pathlib import Path

import pytest

from quandary.errors import CorruptArtefact
from quandary_server.auth import admin_file, ensure_tokens
from quandary_server.selector.scoring_token import ScoringToken
from quandary_server.settings import load_settings


def test_a_file_of_its_own_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    file = tmp_path / "scoring.token"
    file.write_text("first\n")
    token = ScoringToken(load_settings(data=tmp_path, selector={"scoring_token_file": file}))
    assert token() == token() == "first"
    replacement = tmp_path / "next.token"
    replacement.write_text("other")
    replacement.rename(file)
    assert token() == "other"
    file.unlink()
    with pytest.raises(CorruptArtefact, match=r"scoring\.token cannot be read"):
        token()
    file.write_text("third")
    assert token() == "third"


def test_the_admins_token_is_refused_once_others_may_read_it(tmp_path: Path) -> None:
    settings = load_settings(data=tmp_path)
    made = ensure_tokens(settings.tokens)
    token = ScoringToken(settings)
    assert token() == made
    admin_file(settings.tokens).chmod(0o644)
    for _ in range(2):
        with pytest.raises(CorruptArtefact, match="0600"):
            token()
    admin_file(settings.tokens).chmod(0o600)
    assert token() == made
